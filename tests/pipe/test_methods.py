"""test_methods - every pipeline that trains by a method of the papers, at its quick size, as a user starts it: what it says it
will cost, a line a step, weights that are served; the same line again has nothing to do"""
import glob
import os
import subprocess
import sys

from lines import BIN, ROOT, Line, check, done, environment, folder, images, json_lines, safetensors

PIPELINES = f"{ROOT}/pipelines"
METHODS = sorted(os.path.basename(p) for p in glob.glob(f"{PIPELINES}/*")
                 if os.access(p, os.X_OK) and '/method"\n' in open(p).read() and "/ablate-" not in p)
COUNT, BATCH, WIDE = 96, 32, 512
MORE = {"supervised": {"classes": "3"}, "compress": {"wide": str(WIDE), "queue": "128"}, "simreg": {"wide": str(WIDE)},
        "simdis": {"dim": "128"}, "kd": {"classes": "128"}}


def run(d, name, *arguments, **more):
    env = environment(PATH=f"{BIN}:{os.environ['PATH']}", **MORE.get(name, {}), **more)
    return subprocess.run([f"{PIPELINES}/{name}", *arguments], cwd=d, env=env, capture_output=True, text=True, timeout=120)


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
    again = run(d, name, *arguments)
    check(f"{name}: the same line again has nothing to do", again.returncode == 0 and "finished" in again.stderr, again.stderr)
    meta = safetensors(f"{d}/{name}/model.safetensors")[1]
    stages = 3 + (taught or "online" in name)
    check(f"{name}: the model says by which line", meta["lineage"].count("\n") == stages, meta["lineage"])


def main():
    with folder() as d:
        images(f"{d}/data", COUNT)
        weights = teacher(d)
        check("there are methods", len(METHODS) >= 9, METHODS)
        for name in METHODS:
            test_method(d, name, weights)
        lost = run(d, "simclr", "--quick", "nowhere", "lost")
        check("a fault is said once, with its code", lost.returncode != 0 and lost.stderr.count("nowhere") == 1, lost.stderr)
    done()


if __name__ == "__main__":
    sys.exit(main())
