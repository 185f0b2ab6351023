"""test_methods - every pipeline that trains by a method of the papers, at its quick size, as a user starts it: what it says it
will cost, a line a step, weights that are served; the same line again has nothing to do"""
import glob
import os
import subprocess
import sys

from lines import BIN, ROOT, Line, check, done, environment, folder, images, json_lines, safetensors

PIPELINES = f"{ROOT}/pipelines"
TEXTS = {os.path.basename(p): open(p).read() for p in sorted(glob.glob(f"{PIPELINES}/*")) if os.access(p, os.X_OK)}
SWEEPS = [name for name, text in TEXTS.items() if '/sweep"\n' in text]
METHODS = [name for name, text in TEXTS.items() if '/method"\n' in text and name not in SWEEPS]
COUNT, BATCH, WIDE = 96, 32, 512
MORE = {"supervised": {"classes": "3"}, "compress": {"wide": str(WIDE), "queue": "128"}, "simreg": {"wide": str(WIDE)},
        "simdis": {"dim": "128"}, "kd": {"classes": "128"}, "compare-students": {"wide": str(WIDE)}}

AGAIN = ("moco-v2", "seed", "bingo", "simdis-online")   # without a teacher, with one, with a file made before, two networks


def run(d, name, *arguments, **more):
    env = environment(PATH=f"{BIN}:{os.environ['PATH']}", **MORE.get(name, {}), **more)
    one = min(os.sched_getaffinity(0), key=lambda cpu: (cpu - os.getpid()) % 64)    # threads of so small a step only wait
    command = ["taskset", "-c", str(one), f"{PIPELINES}/{name}", *arguments]
    return subprocess.run(command, cwd=d, env=env, capture_output=True, text=True, timeout=400)


def teacher(d):
    Line(["augment", "-q", "-j1", "--size", "32", "--batch", str(BATCH), "--epochs", "1", "data"],
         ["encode", "-q", "-j1", "-a", "resnet18", "--small", "--head", "simple", "-o", "teacher"],
         ["loss", "-q", "-j1", "moco:k=128"], cwd=d).wait()
    return "teacher/model.safetensors"


def test_method(d, name, weights):
    taught = "TEACHER" in run(d, name).stderr
    arguments = ["--quick", "data", name] + [weights] * taught
    first = run(d, name, *arguments)
    rows = json_lines(open(f"{d}/{name}/{name}.jsonl").read()) if os.path.exists(f"{d}/{name}/{name}.jsonl") else []
    check(f"{name}: trains", first.returncode == 0 and len(rows) == 1 + COUNT // BATCH, f"{first.returncode} {first.stderr}")
    check(f"{name}: says first what it costs", f"{name}: about 0.00" in first.stderr
          and f"{COUNT // BATCH} steps" in first.stderr, first.stderr)
    if name in AGAIN:
        again = run(d, name, *arguments)
        check(f"{name}: the same line again has nothing to do", again.returncode == 0 and "finished" in again.stderr,
              again.stderr)
    meta = safetensors(f"{d}/{name}/model.safetensors")[1]
    stages = 3 + (taught or "online" in name)
    check(f"{name}: the model says by which line", meta["lineage"].count("\n") == stages, meta["lineage"])


def test_pretrain(d, weights):
    """What an engineer wants: it looks at the data, says what it chose, trains and reports; with a teacher it distils."""
    chosen = [f"data: {COUNT * 9 // 10 + 1} images to train on, 0 unreadable, 3 classes, {COUNT // 10} held out",
              "method simclr",
              "views of 32 pixels, batch 16, seed 0", "1 epochs of 5 steps = 5 steps"]
    for name, more, lines in (("pretrain", {"each": "3"}, chosen),
                              ("pretrain-taught", {"teacher": weights, "each": "3"},
                               ["method seed, teacher teacher/", "batch 16, queue 32, seed 0"])):
        first = run(d, "pretrain", "--quick", "data", name, **more)
        check(f"{name}: says what it chose", first.returncode == 0 and all(line in first.stdout for line in lines),
              f"{first.returncode} {first.stdout} {first.stderr}")
        report = json_lines(open(f"{d}/{name}/report.jsonl").read())
        check(f"{name}: reports kNN and what the features are like", {r["probe"] for r in report} == {"knn", "linear", "metrics"}
              and "knn top1" in first.stdout and "uniformity" in first.stdout, first.stdout)
    os.makedirs(f"{d}/flat")
    for i, path in enumerate(sorted(glob.glob(f"{d}/data/*/*.png"))):
        os.symlink(path, f"{d}/flat/{i}.png")
    flat = run(d, "pretrain", "--quick", "flat", "pretrain-flat")
    check("pretrain: photos without classes", flat.returncode == 0 and "0 classes\n" in flat.stdout and "knn" not in flat.stdout
          and "uniformity" in flat.stdout, f"{flat.stdout} {flat.stderr}")


def main():
    with folder() as d:
        images(f"{d}/data", COUNT)
        weights = teacher(d)
        check("there are methods", len(METHODS) >= 9, METHODS)
        for name in METHODS:
            test_method(d, name, weights)
        test_pretrain(d, weights)
        lost = run(d, "simclr", "--quick", "nowhere", "lost")
        check("a fault is said once, with its code", lost.returncode != 0 and lost.stderr.count("nowhere") == 1, lost.stderr)
    done()


if __name__ == "__main__":
    sys.exit(main())
