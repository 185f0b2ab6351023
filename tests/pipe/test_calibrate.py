"""Statistics from the training images: with a hold-out that leaves no batch without a held-out image they are those of the training
images alone; and a run too short for its own statistics says so, when it ends and when it is evaluated."""
import os
import shutil
import subprocess

import lines
import numpy as np
from lines import Line, check, folder, images, safetensors
from test_peer import read_all

BATCH = 8
AUGMENT = ["augment", "-q", "-j1", "--eval", "--size", "32", "--batch", str(BATCH)]
RANDOM = ["encode", "-q", "-j1", "--eval", "-a", "resnet18", "--small", "--calibrate"]


def features(d, *augment, encode=RANDOM):
    """Feature and split of every image by name, in order; and the line."""
    line = Line(AUGMENT + list(augment), encode, cwd=d, stdout=subprocess.PIPE)
    try:
        rows = read_all(line[1].stdout.readline().decode(), ["feature0", "split", "name"])[1]
    finally:
        line.wait(60)
    names = [bytes(n).rstrip(b"\0").decode() for n in rows["name"]]
    return {n: (f, s) for n, f, s in zip(names, rows["feature0"], rows["split"])}, line


def test_holdout(d):
    images(f"{d}/data", 48)
    held, line = features(d, "--holdout", "12", "data")
    train = [n for n, (_, split) in held.items() if split == 0]
    batches = [list(held)[i:i + BATCH] for i in range(0, len(held), BATCH)]
    check("every batch has held-out images", all(any(held[n][1] for n in b) for b in batches) and len(train) == 36 and not line.words, line.stderr)
    for n in train:
        os.makedirs(os.path.dirname(f"{d}/alone/{n}"), exist_ok=True)
        shutil.copy(f"{d}/data/{n}", f"{d}/alone/{n}")
    alone, line = features(d, "alone")
    check("the statistics are those of the training images alone", alone.keys() == set(train) and
          all(np.array_equal(alone[n][0], held[n][0]) for n in train), f"{len(alone)} {line.stderr}")
    few, line = features(d, "--holdout", "43", "data")
    check("also of fewer than a batch", sum(split == 0 for _, split in few.values()) == 5 and not line.words and
          all(np.isfinite(f).all() for f, _ in few.values()), line.stderr)


def test_short_run(d):
    line = Line(["augment", "-q", "-j1", "--size", "32", "--batch", "8", "--epochs", "2", "--recipe", "moco-cifar", "data"],
                ["encode", "-j1", "-a", "mobilenet_v3_small", "--small", "--dim", "16", "-o", "run"], ["loss", "-q", "moco:k=64"], cwd=d).wait(60)
    share = float(safetensors(f"{d}/run/model.safetensors")[1]["bn_unsettled"])
    check("a model tells the share of its start in its statistics", abs(share - 0.99 ** 12) < 1e-4, share)
    check("and its run said so", line.codes == [0, 0, 0] and "89 % those of the start" in line.stderr and "--calibrate" in line.stderr, line.stderr)
    encode = ["encode", "-j1", "--eval", "-w", "run/model.safetensors"]
    for name, more, said in (("an evaluation says so", [], True), ("not with --calibrate", ["--calibrate"], False)):
        _, line = features(d, "--like", "run/model.safetensors", "data", encode=encode + more)
        check(name, not line.words and ("add --calibrate" in line.stderr) == said, line.stderr)


if __name__ == "__main__":
    with folder() as d:
        test_holdout(d)
        test_short_run(d)
    lines.done()
