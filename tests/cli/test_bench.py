"""What bench/run is asked to measure: lists with blanks and commas, and names that nothing has."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "pipe"))
from lines import BIN, ROOT, check, done


def lists(*options):
    return subprocess.run([sys.executable, f"{ROOT}/bench/encode.py", "--theirs", "x", "--check", *options], capture_output=True,
                          text=True,
                          env=dict(os.environ, PATH=f"{BIN}:{os.environ['PATH']}"))


def run(**environment):
    return subprocess.run(["sh", f"{ROOT}/bench/run"], capture_output=True, text=True, env=dict(os.environ, **environment))


def check_lists():
    for text in ("resnet18", "resnet18  deit_tiny ", "resnet18,deit_tiny", " resnet18 , deit_tiny,"):
        r = lists("--archs", text)
        check(f"architectures '{text}' are read", r.returncode == 0, r.stderr)
    for option, text, word in (("--archs", "resnet18 resnet81", "'resnet81'"), ("--archs", "  ", "resnet18, "),
                               ("--sizes", "32", "32:256"), ("--sizes", " ", "32:256")):
        r = lists(option, text)
        check(f"{option} '{text}' is refused in a sentence", r.returncode == 2 and word in r.stderr
              and r.stderr.count("\n") == 1, r.stderr)
    for only, word in (("  ", "chooses nothing"), ("loss, encod", "'encod'")):
        r = run(ONLY=only)
        check(f"ONLY='{only}' is refused in a sentence", r.returncode == 2 and word in r.stderr and r.stderr.count("\n") == 1
              and not r.stdout, r.stderr)


if __name__ == "__main__":
    check_lists()
    sys.exit(done())
