"""A run's checkpoint damaged, missing, full of nonsense, or given to another loss: it is named, the one before it taken,
nothing lost.

A run of 12 steps with a checkpoint every 4. Cases begin in a copy of the folder as it is after step 8, and those that go on
must end in the bytes of the run that nobody disturbed. A loss that misbehaves is played by the peer (tests/pipe/peer.py).
"""
import json
import os
import shutil
import subprocess
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "pipe"))
import lines
from lines import BIN, Line, check, content, environment, folder, images, safetensors
from peer import Client, Fault

STEPS, EVERY = 12, 4
AUGMENT = ["augment", "-q", "-j1", "--size", "32", "--recipe", "moco-cifar", "--batch", "8", "--epochs", "3", "-s", "9", "data"]
ENCODE = ["encode", "-j1", "-a", "mobilenet_v3_small", "--small", "--dim", "16", "-o", "run"]
LOSS = ["loss", "-q", "-j1", "moco:k=64"]
CURRENT, PREVIOUS, MODEL = FILES = ("checkpoint.safetensors", "checkpoint.previous.safetensors", "model.safetensors")


def files(d):
    return [content(f"{d}/run/{f}") if os.path.exists(f"{d}/run/{f}") else None for f in FILES]


def step_of(path):
    return int(safetensors(path)[1]["step"])


def steps(d):
    """Steps of the checkpoint and of the one before it."""
    return [step_of(f"{d}/run/{f}") if os.path.exists(f"{d}/run/{f}") else None for f in FILES[:2]]


def same_tensors(a, b):
    a, b = safetensors(a)[0], safetensors(b)[0]
    return a.keys() == b.keys() and all(np.array_equal(a[n], b[n]) for n in a)


def run(d, *more, augment=AUGMENT, loss=LOSS, encode=ENCODE):
    return Line(augment, encode + list(more), loss, cwd=d).wait(60)


def write(path, raw):
    with open(path, "wb") as f:
        f.write(raw)


def rewrite(path, change):
    """The file with other tensors and without a checksum, as older versions wrote it."""
    kinds = {"<f4": "F32", "<i8": "I64", "|u1": "U8", "<i4": "I32"}
    tensors, meta = safetensors(path)
    tensors = {n: change(n, a) for n, a in tensors.items()}
    header, offset = {"__metadata__": {k: v for k, v in meta.items() if not k.startswith("sprat.") and k != "bn_unsettled"}}, 0
    for name, a in tensors.items():
        header[name] = {"dtype": kinds[a.dtype.str], "shape": list(a.shape), "data_offsets": [offset, offset + a.nbytes]}
        offset += a.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    write(path, len(text).to_bytes(8, "little") + text + b"".join(a.tobytes() for a in tensors.values()))


def flip(path, at):
    raw = bytearray(content(path))
    raw[at if at >= 0 else len(raw) // 2] ^= 4
    write(path, bytes(raw))


DAMAGE = {
    "a flipped byte of the header": lambda p: flip(p, 200),
    "a flipped byte of the data": lambda p: flip(p, -1),
    "half a file": lambda p: write(p, content(p)[:len(content(p)) // 2]),
    "an empty file": lambda p: write(p, b""),
    "weights that are not finite": lambda p: rewrite(
        p, lambda n, a: a * np.float32("nan") if n == "key.conv1.weight" or "features.0.0.weight" in n else a),
}


class Cases:
    def __init__(self, d):
        self.d, self.n = d, 0
        images(f"{d}/data", 32)
        os.makedirs(f"{d}/whole")
        os.symlink("../data", f"{d}/whole/data")
        whole = run(f"{d}/whole")
        self.whole = files(f"{d}/whole")
        os.rename(f"{d}/whole/run", f"{d}/end")
        half = run(f"{d}/whole", "--until", "2")
        check("the undisturbed run keeps its last two checkpoints", whole.codes == [0, 0, 0] and None not in self.whole
              and half.codes == [0, 0, 0] and
              steps(f"{d}/whole") == [8, 4], f"{whole.codes} {half.codes} {whole.stderr} {half.stderr}")

    def copy(self):
        """A folder in the state after step 8."""
        self.n += 1
        path = f"{self.d}/{self.n}"
        shutil.copytree(f"{self.d}/whole", path, symlinks=True)
        return path

    def ends_alike(self, name, path, *parts, **more):
        line = run(path, **more)
        other = [f for f, a, b in zip(FILES, files(path), self.whole) if a != b and f != PREVIOUS]  # that one may know of --until
        if steps(path) != [12, 8] or not same_tensors(f"{path}/run/{PREVIOUS}", f"{self.d}/end/{PREVIOUS}"):
            other.append(PREVIOUS)
        check(f"{name}: the run goes on and ends in the same bytes", line.codes == [0, 0, 0] and not other,
              f"{other} {line.codes} {line.stderr}")
        check(f"{name}: it is said", all(p in line.stderr for p in parts), line.stderr)
        return line

    def refused(self, name, path, code, *parts, **more):
        before = files(path)
        line = run(path, **more)
        check(f"{name}: refused in one sentence", line.codes[1] == code and len(line.words) == 1
              and all(p in line.words[0] for p in parts),
              f"{line.codes} {line.stderr}")
        check(f"{name}: the files are as they were", files(path) == before)


def test_damage(c):
    for name, damage in DAMAGE.items():
        path = c.copy()
        damage(f"{path}/run/{CURRENT}")
        c.ends_alike(name, path, f"run/{CURRENT}'", f"'run/{PREVIOUS}' is taken in its place", "goes on after step 4")
    path = c.copy()
    os.unlink(f"{path}/run/{CURRENT}")
    c.ends_alike("a checkpoint that is missing", path, f"run/{CURRENT}'", "is taken in its place", "goes on after step 4")
    path = c.copy()
    flip(f"{path}/run/{PREVIOUS}", -1)
    c.ends_alike("a damaged previous checkpoint", path, "goes on after step 8")
    path = c.copy()
    flip(f"{path}/run/{MODEL}", -1)
    c.ends_alike("a damaged model", path, "goes on after step 8")
    path = c.copy()
    for f in FILES[:2]:
        rewrite(f"{path}/run/{f}", lambda n, a: a)
    c.ends_alike("checkpoints of an older version", path, "goes on after step 8")
    path = c.copy()
    flip(f"{path}/run/{CURRENT}", 300)
    flip(f"{path}/run/{PREVIOUS}", -1)
    c.refused("both checkpoints damaged", path, 1, f"'run/{CURRENT}'", f"'run/{PREVIOUS}'", "--fresh")
    os.unlink(f"{path}/run/{PREVIOUS}")
    c.refused("a damaged checkpoint alone", path, 1, f"'run/{CURRENT}'", "none before it", "--fresh")
    line = Line(["augment", "-q", "-j1", "--eval", "--size", "32", "--batch", "8", "data"],
                ["encode", "-q", "-j1", "--eval", "-w", f"run/{CURRENT}"], ["probe", "knn"], cwd=path).wait(30)
    check("damaged weights are not served", line.codes[1] == 1 and "checksum" in line.stderr, f"{line.codes} {line.stderr}")


def test_other_lines(c):
    path = c.copy()
    line = run(path, "--fresh", "--until", "1", augment=AUGMENT[:-3] + ["-s", "10", "data"])
    check("a fresh run keeps no other run's checkpoint", line.codes == [0, 0, 0] and steps(path) == [4, None],
          f"{steps(path)} {line.stderr}")
    longer = [x if x != "3" else "5" for x in AUGMENT]
    c.refused("more epochs than the checkpoint's", c.copy(), 2, "3 epochs", "5", "-w run/model.safetensors", "another -o",
              augment=longer)
    path = c.copy()
    line = run(path, "-w", "run/model.safetensors", "-o", "longer", augment=longer)
    check("the way it names works", line.codes == [0, 0, 0] and step_of(f"{path}/longer/{CURRENT}") == 20,
          f"{line.codes} {line.stderr}")


def test_full_disk(c):
    path = c.copy()
    before = files(path)
    small = ["sh", "-c", 'trap "" XFSZ; ulimit -f 1000; exec "$@"', "sh", f"{BIN}/encode"] + ENCODE[1:]
    line = run(path, encode=small)
    check("a full disk: one sentence, and what is saved", line.codes[1] == 1 and len(line.words) == 1
          and "File too large" in line.stderr and
          "saved up to step 8" in line.stderr, f"{line.codes} {line.stderr}")
    check("a full disk: the files are as they were",
          files(path) == before and not [f for f in os.listdir(f"{path}/run") if f.endswith(".tmp")],
          os.listdir(f"{path}/run"))
    c.ends_alike("a disk with room again", path)


# --- the loss is the peer's ---


def play(d, *more, gradient=None, state=None, facts=None, head="linear", scalars=("loss",)):
    """A line with a loss of our own: gradient(step, q) and state(step) are what it sends."""
    line = Line(AUGMENT, ENCODE + ["--head", head, *more], cwd=d, stdout=subprocess.PIPE)
    fault = None
    try:
        client = Client(line[1].stdout.readline().decode(), "loss", patience=30)
        step = client.open(**(facts or {})).scalars["first_step"]
        while True:
            client.want(step, ["q0"])
            batch = client.take()
            if batch is None:
                break
            q = batch.tensors["q0"]
            d_q = gradient(step, q) if gradient else None
            client.grad(step, {"q0": np.float32(0.01) * q if d_q is None else d_q}, dict.fromkeys(scalars, 1.0),
                        state(step) if state and batch.scalars["save"] else None)
            step += 1
        client.close()
    except Fault as e:
        fault = e
        client.socket.close(linger=0)
    line.wait(30)
    return line, fault


def refused(name, played, d, before, code, *parts):
    line, fault = played
    check(f"{name}: refused in one sentence", fault is not None and line.codes[1] == code and len(line.words) == 1 and
          all(p in line.words[0] for p in parts), f"{fault} {line.codes} {line.stderr}")
    check(f"{name}: the files are as they were", files(d) == before)


def place(c, name):
    path = f"{c.d}/{name}"
    os.mkdir(path)
    os.symlink("../data", f"{path}/data")
    return path


def queue(step):
    return {"loss.queue": np.full(3, step, np.float32), "loss.count": np.array([step], np.int64)}


def test_state(c):
    d = place(c, "state")
    line, _ = play(d, "--until", "2", state=queue, facts={"loss": "queue:k=3"})
    check("a loss with state", line.codes == [0, 0] and steps(d) == [8, 4], f"{line.codes} {line.stderr}")
    before = files(d)
    refused("a loss without a name", play(d, state=queue), d, before, 2, "queue:k=3", "--fresh")
    refused("another loss", play(d, state=queue, facts={"loss": "other"}), d, before, 2, "queue:k=3", "other")
    refused("a loss that forgets its state", play(d, facts={"loss": "queue:k=3"}), d, before, 1, "'loss.", "step 12",
            "nothing is saved")
    half = lambda step: {"loss.queue": queue(step)["loss.queue"]}
    refused("a loss that forgets half of it", play(d, state=half, facts={"loss": "queue:k=3"}), d, before, 1, "'loss.count'")
    line, _ = play(d, state=queue, facts={"loss": "queue:k=3"})
    check("the same loss goes on", line.codes == [0, 0] and steps(d) == [12, 8], f"{line.codes} {line.stderr}")
    d = place(c, "mute")
    line, _ = play(d, "--until", "2", scalars=())
    check("a loss that says no value is named once", line.codes == [0, 0] and line.stderr.count("no scalar 'loss'") == 1,
          line.stderr)
    d = place(c, "own-fact")
    play(d, "--until", "1", facts={"loss": "mine", "temperature": 0.5})
    refused("a loss that no longer names a fact of its own", play(d, facts={"loss": "mine"}), d, files(d), 2, "temperature '0.5'")
    d = place(c, "stateless")
    line, _ = play(d, "--until", "1")
    again, _ = play(d)
    check("a loss without name and state goes on", line.codes == again.codes == [0, 0] and steps(d) == [12, 8],
          f"{line.stderr} {again.stderr}")
    check("a loss that says its value is not asked for it", "scalar 'loss'" not in line.stderr, line.stderr)
    refused("a loss that gets a name", play(d, facts={"loss": "named"}), d, files(d), 2, "loss ''")


def absurd(at, value):
    return lambda step, q: np.full_like(q, value) if step == at else None


def test_absurd(c):
    """Gradients that are finite, and lead to weights that are not: in a step that is saved, before one, and after one."""
    d = place(c, "sane")
    sane, _ = play(d)
    whole = files(d)
    for name, at in (("in a step that is saved", 7), ("in the step before", 6), ("in the step after", 8)):
        d = place(c, f"absurd{at}")
        line, fault = play(d, gradient=absurd(at, 1e30))
        kept = 8 if at == 8 else 4
        check(f"gradients of 1e30 {name}: the loss is named", fault is not None and line.codes[1] == 1 and len(line.words) == 1
              and f"the loss sent gradients as large as 1.0e+30 in step {at + 1}" in line.stderr, f"{line.codes} {line.stderr}")
        check(f"gradients of 1e30 {name}: not saved",
              steps(d)[0] == kept and all(np.isfinite(a).all() for a in safetensors(f"{d}/run/{CURRENT}")[0].values()),
              steps(d))
        line, _ = play(d)
        check(f"gradients of 1e30 {name}: the same line goes on from step {kept}", line.codes == [0, 0] and files(d) == whole and
              f"after step {kept}" in line.stderr, f"{line.codes} {line.stderr}")
    d = place(c, "deep")
    play(d, head="deep")
    whole = files(d)
    d = place(c, "absurd-deep")
    line, _ = play(d, head="deep", gradient=absurd(7, 1e9))
    check("a saved step of no use is found out in the next", line.codes[1] == 1 and len(line.words) == 1
          and "step 9" in line.words[0] and
          "the same line goes on from there" in line.words[0] and steps(d) == [4, None], f"{line.codes} {steps(d)} {line.stderr}")
    line, _ = play(d, head="deep")
    check("and the one before it is gone on from", line.codes == [0, 0] and files(d) == whole, f"{line.codes} {line.stderr}")


def main():
    with folder() as d:
        c = Cases(d)
        test_damage(c)
        test_other_lines(c)
        test_full_disk(c)
        test_state(c)
        test_absurd(c)
    lines.done()


if __name__ == "__main__":
    main()
