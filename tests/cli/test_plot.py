"""The picture of a training: of short and long runs, of one that was resumed, of none."""
import math
import os
import shutil
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "pipe"))
from lines import ROOT, check, content, done, folder, skip

HEAD = '{"loss": "moco:t=0.2", "expected": 7.625107, "batch": 128, "dim": 128, "first_step": 1, "steps": 500}\n'


def step(s, worse=0):
    loss, top1 = 7.5 - s / 200 + 0.2 * math.sin(9.7 * s) + worse, 20 + 5 * math.sin(7 * s)
    return f'{{"step": {s}, "epoch": 1, "loss": {loss:.7g}, "top1": {top1:.7g}}}\n'


def plot(name, text):
    with open(f"{name}.jsonl", "w") as f:
        f.write(text)
    return subprocess.run([f"{ROOT}/pipelines/plot-loss", f"{name}.jsonl", f"{name}.png"], stderr=subprocess.PIPE, text=True)


def check_plots(where):
    os.chdir(where)
    for n in (1, 10, 500, 9000):
        r = plot(f"of{n}", HEAD + "".join(step(s) for s in range(1, n + 1)))
        picture = content(f"of{n}.png")
        check(f"a picture of {n} steps", r.returncode == 0 and not r.stderr and picture[1:4] == b"PNG"
              and struct.unpack(">2I", picture[16:24]) == (900, 520), r.stderr)
    torn = HEAD + "".join(step(s) for s in range(1, 300)) + "".join(step(s, 40) for s in range(300, 400)) + '{"step": 400, "lo\n'
    r = plot("resumed", torn + HEAD + "".join(step(s) for s in range(300, 501)))
    check("a step's last line counts, and half a line does not",
          r.returncode == 0 and content("resumed.png") == content("of500.png"), r.stderr)
    r = plot("none", HEAD)
    check("a log without steps is named", r.returncode == 1 and "'none.jsonl' holds no steps" in r.stderr, r.stderr)


if __name__ == "__main__":
    if shutil.which("gnuplot") and shutil.which("jq"):
        with folder() as where:
            check_plots(where)
    else:
        skip("the picture of a training", "gnuplot or jq is missing")
    sys.exit(done())
