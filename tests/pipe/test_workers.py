"""The stream of augment is a function of the line alone: not of threads, nor of how many workers there are, nor of their
deaths."""
import hashlib
import os
import random
import subprocess
import sys
import time

import lines
import numpy as np
from lines import Line, check, content, folder, images, skip, until
from peer import Client

AUGMENT = ["augment", "-q", "--size", "32", "--recipe", "mocov2", "--batch", "8", "--epochs", "3", "-s", "5"]
NAMES = ["view0", "view1", "index", "label"]


def digest(record):
    h = hashlib.sha256()
    for name in sorted(record.tensors):
        a = record.tensors[name]
        h.update(f"{name} {a.dtype} {a.shape} {record.scalars['epoch']}".encode() + a.tobytes())
    return h.hexdigest()


def read_stream(d, *workers):
    """Step s from worker s mod n; the stream's digests, by step, and its tensor "index"."""
    line = Line(list(workers), ["cat"], cwd=d, stdout=subprocess.PIPE)
    clients = [Client(line[-1].stdout.readline().decode(), "test") for _ in workers]
    steps = [c.open() for c in clients][0].scalars["fact.steps"]
    digests, index = [], []
    for step in range(steps):
        client = clients[step % len(clients)]
        client.want(step, NAMES)
        batch = client.take()
        digests.append(digest(batch))
        index.append(batch.tensors["index"])
    repeated = clients[-1]
    repeated.want(1, NAMES)
    digests.append(digest(repeated.take()))
    for c in clients:
        c.close()
    line.wait(20)
    check(f"{len(workers)} workers end well", set(line.codes) == {0} and not line.stderr, f"{line.codes} {line.stderr}")
    return digests, index


def test_streams(d):
    one, index = read_stream(d, AUGMENT + ["-j1", "data"])
    four, _ = read_stream(d, AUGMENT + ["-j4", "data"])
    two, _ = read_stream(d, AUGMENT + ["-j1", "data"], AUGMENT + ["-j2", "data"])
    subprocess.run(["tar", "cf", "data.tar", "-C", "data", "."], cwd=d, check=True)
    mixed, _ = read_stream(d, AUGMENT + ["-j2", "data.tar"], AUGMENT + ["-j1", "--cache", "0", "data"])
    other, _ = read_stream(d, AUGMENT[:-1] + ["6", "-j1", "data"])
    steps = len(one) - 1
    check("-j 4 gives the stream of -j 1", four == one)
    check("two workers give it too", two == one)
    check("a worker with a tar and one with the folder, without a cache, give it too", mixed == one)
    check("a step asked for again is the same", one[-1] == one[1])
    check("no two steps are alike", len(set(one[:-1])) == steps)
    check("another seed gives another stream", not set(other) & set(one))
    for epoch in range(3):
        seen = np.concatenate(index[epoch * steps // 3:(epoch + 1) * steps // 3])
        check(f"epoch {epoch} shows each sample once", len(set(seen.tolist())) == len(seen) == 40, sorted(seen.tolist()))
    check("in another order each time", len({tuple(np.concatenate(index[e * 5:e * 5 + 5]).tolist()) for e in range(3)}) == 3)


def levels():
    """Of SPRAT_ISA, those with loops for images that this machine has."""
    with open("/proc/cpuinfo") as f:
        flags = f.read().split()
    return ["base"] + [isa for isa, flag in (("avx2", "avx2"), ("avx512", "avx512vl")) if flag in flags]


def with_loops(isa, command):
    return ["env", f"SPRAT_ISA={isa}", f"{lines.BIN}/augment"] + command[1:]


def test_photos(d):
    """Photographs at their own size, over two epochs: in the second one the cache is warm."""
    tar = f"{lines.DATA}/imagenet-sample-200.tar"
    if not os.path.exists(tar):
        return skip("a stream of photos", "DATA names no folder with imagenet-sample-200.tar")
    os.mkdir(f"{d}/photos")
    subprocess.run(["tar", "xf", tar, "-C", f"{d}/photos"], check=True)
    augment = ["augment", "-q", "--batch", "50", "--epochs", "2", "-s", "3"]
    want, _ = read_stream(d, augment + ["-j1", "--cache", "0", tar])
    others = {"-j3, a folder": [augment + ["-j3", "--cache", "0", "photos"]], "a cache": [augment + ["-j2", tar]],
              "a cache, a folder, another worker": [augment + ["-j2", "photos"], augment + ["-j1", "--cache", "0", tar]],
              **{f"loops for {isa}": [with_loops(isa, augment) + ["-j2", "--cache", "0", tar]] for isa in levels()}}
    for name, workers in others.items():
        check(f"photos: {name}: the same stream", read_stream(d, *workers)[0] == want)


# --- a whole run ---

ENCODE = ["encode", "-q", "-j1", "-a", "mobilenet_v3_small", "--small", "--dim", "16", "--patience", "5", "-o", "run"]
LOSS = ["loss", "-q", "-j1", "moco:k=64"]


def run(d, name, workers, kill=None):
    """A run in its own folder with some workers; kill: worker to kill -9 when the loss has seen a third of the run."""
    path = f"{d}/{name}"
    subprocess.run(["mkdir", path], check=True)
    subprocess.run(["ln", "-s", "../data", path], check=True)
    line = Line([AUGMENT + ["-j1", "data"]] * workers, ENCODE, LOSS, cwd=path)
    if kill is not None:
        until(lambda: line.steps() >= 5 or line[-1].poll() is not None)
        line.kill(kill)
    line.wait(60)
    good = [0 if i != kill else -9 for i in range(workers)] + [0, 0]
    check(f"{name}: 15 steps", line.codes == good and line.steps() == 15 and not line.words, f"{line.codes} {line.stderr}")
    return [content(f"{path}/run/{x}.safetensors") for x in ("checkpoint", "model")]


def test_runs(d):
    one = run(d, "one-worker", 1)
    check("two workers train to the same bytes", run(d, "two-workers", 2) == one)
    for kill in (0, 1):
        check(f"and so they do when worker {kill} is killed", run(d, f"kill-{kill}", 2, kill) == one)


def test_late_worker(d):
    """A worker whose ticket comes when the run is under way takes over when the first one dies."""
    path = f"{d}/late"
    subprocess.run(["mkdir", path], check=True)
    subprocess.run(["ln", "-s", "../data", path], check=True)
    late = ["sh", "-c", 'sleep 1; exec "$0" "$@"', f"{lines.BIN}/augment"] + AUGMENT[1:] + ["-j1", "data"]
    line = Line([AUGMENT + ["-j1", "data"], late], ENCODE, ["loss", "-q", "-j1", "moco:k=64"], cwd=path)
    until(lambda: line.steps() >= 2 or line[-1].poll() is not None)
    line.kill(0)
    line.wait(60)
    check("a late worker saves the run", line.codes == [-9, 0, 0, 0] and line.steps() == 15, f"{line.codes} {line.stderr}")
    check("with the same bytes",
          content(f"{path}/run/checkpoint.safetensors") == content(f"{d}/one-worker/run/checkpoint.safetensors"))


# --- workers that are slower than their reader ---

KILLS = 50 if os.environ.get("FULL") else 4


def photos(path, count):
    """Pictures whose reading takes a while."""
    from PIL import Image

    rng = np.random.default_rng(3)
    for i in range(count):
        os.makedirs(f"{path}/class{i % 3}", exist_ok=True)
        picture = Image.fromarray(rng.integers(0, 256, (150, 150, 3), np.uint8)).resize((2000, 2000))
        picture.save(f"{path}/class{i % 3}/{i:03d}.jpg", quality=90)


def slow_lines(d):
    """{name: (worker i of a line in folder path, the stages behind, what the line leaves)}; every worker is slower than its
    reader."""
    def peer(way):
        return lambda path, i: [sys.executable, f"{lines.ROOT}/tests/pipe/slow_augment.py", f"ipc://{path}/w{i}", way]

    def shipped(*options):
        return lambda path, i: ["augment", "-q", "-j1", "--cache", "0", "--size", "32", "--batch", "8", *options, f"{d}/photos"]

    weights = ["encode", "-q", "-j1", "--eval", "-a", "mobilenet_v3_small", "--small", "--patience", "5"]
    saved = lambda path, line: [content(f"{path}/run/{x}.safetensors") for x in ("checkpoint", "model")]
    said = lambda path, line: line.stdout
    return {"training, C": (shipped("--recipe", "mocov2", "--epochs", "2", "-s", "5"), [ENCODE, LOSS], saved),
            "evaluation, C": (shipped("--eval", "--holdout", "12"), [weights, ["probe", "-q", "-j1", "knn:k=3"]], said),
            "evaluation, Python": (peer("eval"), [["probe", "-q", "-j1", "--on", "view", "knn:k=3"]], said),
            "training, Python": (peer("train"), [ENCODE, LOSS], saved)}


def slow_run(d, number, worker, stages, left, kill=None):
    """One line with two workers. kill: (worker, after how many seconds). Gives the line and what it left."""
    path = f"{d}/slow{number}"
    os.mkdir(path)
    line = Line([worker(path, i) for i in range(2)], *stages, cwd=path)
    if kill:
        end = time.monotonic() + kill[1]
        until(lambda: time.monotonic() >= end or line[-1].poll() is not None, kill[1] + 5)
        line.kill(kill[0])
    line.wait(90)
    good = set(line.codes[2:]) == {0} and set(line.codes[:2]) <= {0, -9}
    return line, left(path, line) if good else None


def test_slow_workers(d):
    """The survivor is still at its own batches when it is given a dead worker's: it answers its own first."""
    photos(f"{d}/photos", 24)
    draw, kinds = random.Random(1), slow_lines(d)
    for k, (name, way) in enumerate(kinds.items()):
        line, want = slow_run(d, f"-{k}", *way)
        check(f"slow workers, {name}: a run", want is not None, f"{line.codes} {line.stderr}")
        bad = []
        kills = len(range(k, KILLS, len(kinds)))
        for i in range(kills):
            after = line.seconds * draw.uniform(0.3, 0.9)
            killed, have = slow_run(d, f"-{k}-{i}", *way, kill=(i % 2, after))
            if have != want:
                bad.append(f"killed after {after:.2f} of {line.seconds:.2f} s: {killed.codes} {killed.stderr}")
        check(f"slow workers, {name}: {kills} kills change no byte", want is not None and not bad, f"{len(bad)}: {bad}")


if __name__ == "__main__":
    with folder() as d:
        images(f"{d}/data", 40)
        test_streams(d)
        test_photos(d)
        test_runs(d)
        test_late_worker(d)
        test_slow_workers(d)
    lines.done()
