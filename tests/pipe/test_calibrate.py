"""Statistics from the training images: with a hold-out that leaves no batch without a held-out image they are those of the
training images alone; and a run too short for its own statistics says so, when it ends and when it is evaluated."""
import os
import re
import shutil
import subprocess

import lines
import numpy as np
from lines import Line, check, folder, images, safetensors
from test_peer import read_all

AUGMENT = ["augment", "-q", "-j1", "--eval", "--size", "32", "--batch", "8"]
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


def apart(a, b):
    """Relative L2 distance of the features of the images of b."""
    x, y = (np.stack([f[n][0] for n in sorted(b)]) for f in (a, b))
    return float(np.linalg.norm(x - y) / np.linalg.norm(y))


def test_holdout(d):
    """One group of all training images: the held-out ones leave no trace. Groups of a batch: no batch is without one."""
    images(f"{d}/data", 48)
    held, line = features(d, "--holdout", "12", "--batch", "48", "data")
    train = [n for n, (_, split) in held.items() if split == 0]
    check("a hold-out leaves training images", len(train) == 36 and not line.words, line.stderr)
    for n in train:
        os.makedirs(os.path.dirname(f"{d}/alone/{n}"), exist_ok=True)
        shutil.copy(f"{d}/data/{n}", f"{d}/alone/{n}")
    alone, line = features(d, "--batch", "48", "alone")
    check("the statistics are those of the training images alone", alone.keys() == set(train) and apart(held, alone) < 1e-4,
          f"{apart(held, alone)} {line.stderr}")
    small, line = features(d, "--holdout", "12", "--batch", "12", "data")
    batches = [list(small)[i:i + 12] for i in range(0, len(small), 12)]
    check("no batch is without a held-out image", all(any(small[n][1] for n in b) for b in batches) and not line.words,
          line.stderr)
    check("and groups of a batch have much the same statistics", apart(small, alone) < 0.06, apart(small, alone))


def test_sorted(d):
    """Batches of one class each: their statistics are not those of all, so a group is of many places."""
    images(f"{d}/sorted", 48)
    whole, _ = features(d, "--batch", "48", "sorted")
    parts, line = features(d, "--batch", "16", "sorted")
    odd, short = features(d, "--batch", "23", "sorted")
    check("a last batch of two images is no trouble", short.codes == [0, 0] and not short.words and len(odd) == 48,
          f"{short.codes} {short.stderr}")
    check("data sorted by class have the statistics of all", apart(parts, whole) < 0.06 and not line.words,
          f"{apart(parts, whole)} {line.stderr}")


def idx(folder, pixels, labels):
    """An IDX data set as MNIST's."""
    os.makedirs(folder)
    for name, a in (("images-idx3", pixels), ("labels-idx1", labels)):
        with open(f"{folder}/train-{name}-ubyte", "wb") as f:
            f.write(bytes([0, 0, 8, a.ndim]) + np.array(a.shape, ">i4").tobytes() + a.astype("u1").tobytes())


def test_many(d):
    """Of more than 10,000 images not all are read, but some from everywhere: sorted data have the statistics of three quarters
    of them."""
    rng, labels = np.random.default_rng(5), np.repeat(np.arange(10), 1280)
    pixels = np.minimum(255, rng.integers(0, 30, (len(labels), 8, 8)) * (1 + labels[:, None, None]))
    most, rows, sent = np.arange(len(labels)) % 4 != 0, {}, {}
    for name, kept in (("all", np.ones_like(most)), ("most", most)):
        idx(f"{d}/{name}", pixels[kept], labels[kept])
        line = Line(["augment", "-v", "-j1", "--eval", "--size", "16", "--batch", "200", name],
                    ["encode", "-q", "--eval", "-a", "resnet18", "--calibrate"], cwd=d, stdout=subprocess.PIPE)
        try:
            rows[name] = read_all(line[1].stdout.readline().decode(), ["feature0"])[1]["feature0"]
        finally:
            line.wait(60)
        sent[name] = int(re.search(r"sent (\d+) tensors", line.stderr)[1])
    away = np.linalg.norm(rows["all"][most] - rows["most"]) / np.linalg.norm(rows["most"])
    check("some of many images, from everywhere, are enough", line.codes == [0, 0] and away < 0.04, f"{away} {line.stderr}")
    parts, few = 2 * 16, 4          # two tensors for each of 16 places of a group; asked for ahead, and by read_all() once more
    check("of 9,600 all are read", 48 * parts <= sent["most"] - 48 <= 48 * parts + few, sent)
    check("of 12,800 as many as hold 10,000", 50 * parts <= sent["all"] - 64 <= 50 * parts + 2 * few, sent)


def test_short_run(d):
    line = Line(["augment", "-q", "-j1", "--size", "32", "--batch", "8", "--epochs", "2", "--recipe", "moco-cifar", "data"],
                ["encode", "-j1", "-a", "mobilenet_v3_small", "--small", "--dim", "16", "-o", "run"],
                ["loss", "-q", "moco:k=64"], cwd=d).wait(60)
    share = float(safetensors(f"{d}/run/model.safetensors")[1]["bn_unsettled"])
    check("a model tells the share of its start in its statistics", abs(share - 0.99 ** 12) < 1e-4, share)
    check("and its run said so", line.codes == [0, 0, 0] and "89 % those of the start" in line.stderr
          and "--calibrate" in line.stderr, line.stderr)
    encode = ["encode", "-j1", "--eval", "-w", "run/model.safetensors"]
    for name, more, said in (("an evaluation says so", [], True), ("not with --calibrate", ["--calibrate"], False)):
        _, line = features(d, "--like", "run/model.safetensors", "data", encode=encode + more)
        check(name, not line.words and ("add --calibrate" in line.stderr) == said, line.stderr)


if __name__ == "__main__":
    with folder() as d:
        test_holdout(d)
        test_sorted(d)
        test_many(d)
        test_short_run(d)
    lines.done()
