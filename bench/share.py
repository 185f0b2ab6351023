"""share - what part of a training step each loss is: mobilenet_v3_small at 224, 256 images, f32, and the loss of their embeddings

    share.py [LOSS...]

Loss and step in turns, three times; medians. A JSON line a loss, at its own defaults and in other forms: ms, its share of the
step in per cent, and 15, which it may not exceed.
"""
import json
import statistics
import subprocess
import sys

STEP = ["one_step", "mobilenet_v3_small", "224", "256", "full"]
SPELLINGS = {"seed-small-patch": "seed:patches=6", "moco smoothed": "moco:smooth=0.2,nn=10", "moco symmetric": "moco:sym=1",
             "compress 2q": "compress:banks=2", "simdis 7v": "simdis:kinds=7v,online=1"}
TURNS, LINES = 3, 3


def names():
    rows = subprocess.run(["loss", "list"], capture_output=True, text=True, check=True).stdout.split("\n\n")[0].splitlines()
    return [row.split()[0] for row in rows if row and not row[0].isspace()]


def loss_ms(spelling):
    p = subprocess.Popen(["objective", spelling, "256", "128"], stdout=subprocess.PIPE, text=True)
    found = [json.loads(p.stdout.readline())["ms"] for _ in range(1 + LINES)][1:]
    p.kill()
    p.wait()
    return found


def step_ms():
    return json.loads(subprocess.run(STEP, capture_output=True, text=True, check=True).stdout)["ms"]


def main():
    spellings = {n: n for n in sys.argv[1:]} or {**{n: n for n in names()}, **SPELLINGS}
    times, steps = {n: [] for n in spellings}, []
    for _ in range(TURNS):
        steps.append(step_ms())
        for name, spelling in spellings.items():
            times[name] += loss_ms(spelling)
    step, over = statistics.median(steps), 0
    for name, found in times.items():
        ms = statistics.median(found)
        over += ms > 0.15 * step
        print(json.dumps({"what": "share", "case": name, "ms": round(ms, 2), "step_ms": round(step, 1),
                          "share": round(100 * ms / step, 2), "most": 15}), flush=True)
    return over > 0


if __name__ == "__main__":
    sys.exit(main())
