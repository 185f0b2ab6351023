#!/usr/bin/env python3
"""tee.py [TAR] - what a sweep of N students behind one frozen teacher costs in front of them, beside one student

One JSON object as bench/run's: processor seconds of augment and a resnet18 as teacher for N students of mobilenet_v3_small,
beside N lines of one; the ratio for N is at least N/1.1. Status 1 also where a student's weights are not those of a run of its
own. A tar of images (without it waves); N=4, STEPS=40, BATCH=64 in the environment change the size.
"""
import json
import os
import subprocess
import sys
import tarfile
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BIN = os.path.abspath(os.environ.get("BIN", f"{ROOT}/bin"))
N, STEPS, BATCH = (int(os.environ.get(name, default)) for name, default in (("N", 4), ("STEPS", 40), ("BATCH", 64)))
MOST = 1.1          # the work for N, of that for one

# SEED, roughly: the student's embedding is drawn to the teacher's, through a fixed projection.
LOSS = """
import sys
import numpy as np
from sprat import Stage
weight = float(sys.argv[1])

def step(batch):
    t = batch["t0"][:, :batch["q0"].shape[1]]
    away = batch["q0"] - t / np.linalg.norm(t, axis=1, keepdims=True)
    return {"q0": weight * away / len(away)}, {"loss": weight * float(np.square(away).sum()) / 2 / len(away)}

with Stage("draw", facts={"loss": f"draw:w={weight}"}) as stage:
    stage.train(["q0", "t0"], step)
"""


def images(path, count, tar=None):
    """As many pictures, of a tar or made up."""
    if not tar:
        sys.path.insert(0, f"{ROOT}/tests/pipe")
        from lines import images as make
        return make(path, count, size=32)
    os.makedirs(f"{path}/all")
    with tarfile.open(tar) as files:
        members = [m for m in files if m.isfile()]
        for i, m in enumerate(members[:: max(1, len(members) // count)][:count]):
            with open(f"{path}/all/{i}.jpg", "wb") as f:
                f.write(files.extractfile(m).read())


def line(folder, runs):
    """Processor seconds of augment and teacher in front of these runs."""
    students = [f"{BIN}/encode -q -j1 -a mobilenet_v3_small --small --dim 64 -o {run} | "
                f"{sys.executable} loss.py {1 + i / 4} > {run}.jsonl" for i, run in runs]
    fan = "tee " + " ".join(f">({s})" for s in students[1:]) + " | " + students[0] if students[1:] else students[0]
    augment = subprocess.Popen([f"{BIN}/augment", "-q", "-j1", "--size", "32", "--batch", str(BATCH), "--epochs", "1", "images"],
                               cwd=folder,
                               stdout=subprocess.PIPE)
    teacher = subprocess.Popen([f"{BIN}/encode", "-q", "-j1", "--frozen", "--as", "t", "-w", "teacher/model.safetensors"],
                               cwd=folder,
                               stdin=augment.stdout, stdout=subprocess.PIPE)
    augment.stdout.close()
    subprocess.run(["bash", "-c", f"set -o pipefail; {fan}"], cwd=folder, stdin=teacher.stdout, check=True,
                   env=dict(os.environ, PYTHONPATH=f"{ROOT}/python"))
    teacher.stdout.close()
    spent = [os.wait4(p.pid, 0)[2] for p in (teacher, augment)]
    return sum(x.ru_utime + x.ru_stime for x in spent)


def weights(folder, run):
    with open(f"{folder}/{run}/model.safetensors", "rb") as f:
        data = f.read()
    return data[8 + int.from_bytes(data[:8], "little"):]


def main():
    with tempfile.TemporaryDirectory() as folder:
        images(f"{folder}/images", STEPS * BATCH, sys.argv[1] if sys.argv[1:] else None)
        images(f"{folder}/few", BATCH)
        with open(f"{folder}/loss.py", "w") as f:
            f.write(LOSS)
        subprocess.run(["bash", "-c", f"{BIN}/augment -q --size 32 --batch {BATCH} few | "
                        f"{BIN}/encode -q -a resnet18 --small --until 1 -o teacher | {BIN}/loss -q moco:k={BATCH}"],
                       cwd=folder, check=True, stdout=subprocess.DEVNULL)
        alone, own = zip(*((line(folder, [(i, f"own{i}")]), weights(folder, f"own{i}")) for i in range(N)))
        swept = line(folder, [(i, f"swept{i}") for i in range(N)])
        equal = [weights(folder, f"swept{i}") == own[i] for i in range(N)]
        case = f"{N} students behind a teacher, {STEPS} steps of {BATCH}" + ("" if all(equal) else ", OTHER WEIGHTS")
        print(json.dumps({"what": "tee", "case": case,
                          "ours": round(swept, 2), "theirs": round(sum(alone), 2), "unit": "s",
                          "ratio": round(sum(alone) / swept, 3),
                          "floor": round(N / MOST, 3)}))
        return 0 if N * swept <= MOST * sum(alone) and all(equal) else 1


if __name__ == "__main__":
    sys.exit(main())
