"""byol.py - a loss like BYOL's (Grill et al. 2020) of several views in numpy, with its gradients, a client that plays it, and the
lines it is played behind

Predictions p of a view, and q of the first one, follow keys k of the other one: 2 - 2 cos(p, k), a mean over rows. A crop's q
follows the key of the first view; features of crops are drawn to unit length.
"""
import signal
import subprocess

import numpy as np
from lines import Line, check, safetensors
from peer import Client, Fault

PAIRS = (("p0", "k1"), ("p1", "k0"), ("q0", "k1"), ("q2", "k0"))
FEATURES = ("feature2", "feature3")
WANTS = ["p0", "p1", "q0", "q2", "k0", "k1", *FEATURES]
AUGMENT = ["augment", "-q", "-j1", "--size", "32", "--recipe", "moco-cifar", "--batch", "8", "--epochs", "1", "-s", "3"]
CROPS = ["--crops", "2x16"]
HEADS = ["--head", "32,bn,relu,16", "--predictor", "24,bn,relu,16"]
NET = ["encode", "-q", "-j1", "-a", "mobilenet_v3_small", "--small"]


def follow(x, target):
    """2 - 2 cos of rows, and its gradient by x."""
    x, target = x.astype(np.float64), target.astype(np.float64)
    n = np.linalg.norm(x, axis=1, keepdims=True)
    x, t = x / n, target / np.linalg.norm(target, axis=1, keepdims=True)
    cos = np.sum(x * t, 1, keepdims=True)
    return np.mean(2 - 2 * cos), -2 * (t - cos * x) / n / len(x)


def shrink(x):
    """(|x| - 1)^2 of rows, and its gradient."""
    x = x.astype(np.float64)
    n = np.linalg.norm(x, axis=1, keepdims=True)
    return np.mean((n - 1) ** 2), 2 * (n - 1) * x / n / len(x)


def byol(batch, pairs=PAIRS, features=FEATURES, weight=0.1):
    """Value and {name: gradient} of a batch's tensors."""
    made = {name: follow(batch[name], batch[key]) for name, key in pairs}
    made.update({name: [weight * part for part in shrink(batch[name])] for name in features})
    return sum(value for value, _ in made.values()), {name: d.astype(np.float32) for name, (_, d) in made.items()}


def only(*kept):
    """The same with the gradients of these alone: of p and q that of others is zero, of a feature it is left out."""
    def loss(batch):
        value, d = byol(batch)
        return value, {n: d[n] if n in kept else np.zeros_like(d[n]) for n in d if n in kept or n[0] != "f"}
    return loss


def play(line, wants=WANTS, loss=byol, kill=None, each=None):
    """The loss behind a line until it ends: the tensors of each step. kill: (step, "batch" or "grad"), when the last stage is
    killed; each: called with the step when its batch has come, the checkpoint being that of the steps before. Raises Fault."""
    client, batches = None, []
    try:
        client = Client(line[-1].stdout.readline().decode(), "loss", patience=30)
        step = client.open(loss="byol").scalars["first_step"]
        while True:
            client.want(step, wants)
            batch = client.take()
            if batch is None:
                break
            if each:
                each(step)
            batches.append(batch.tensors)
            if kill == (step, "batch"):
                break
            value, gradients = loss(batch.tensors)
            client.grad(step, gradients, {"loss": float(value)})
            if kill == (step, "grad"):
                break
            step += 1
        if kill:
            line.kill(-1, sig=signal.SIGKILL)
    finally:
        if client:
            client.socket.close(linger=0)
        line.wait(30)
        line[-1].stdout.close()
    return batches


# --- lines ---


def start(d, *options, front=(), net=NET + HEADS, augment=AUGMENT + CROPS):
    return Line(augment + ["data"], *front, net + list(options), cwd=d, stdout=subprocess.PIPE)


def run(d, out, *options, net=NET + HEADS, augment=AUGMENT + CROPS, **how):
    """A run to its end: the tensors of each step, or None where it failed."""
    line = start(d, "-o", out, *options, net=net, augment=augment)
    try:
        batches, why = play(line, **how), ""
    except (Fault, TimeoutError) as e:
        batches, why = None, e
    good = line.codes == [0, 0] and not line.words
    return batches if check(f"a run: {out}", good, f"{line.codes} {why} {line.stderr}") else None


def checkpoint(d, out, file="checkpoint"):
    return safetensors(f"{d}/{out}/{file}.safetensors")


def refused(d, name, code, parts, *options, wants=WANTS, loss=byol, **how):
    """A line that ends with one sentence, which the loss is sent and which stands on standard error once."""
    line = start(d, *options, **how)
    try:
        play(line, wants, loss)
        fault = None
    except (Fault, TimeoutError) as e:
        fault = e
    good = isinstance(fault, Fault) and fault.code == code and line.codes == [code] * len(line.codes) and len(line.words) == 1
    good = good and fault.sentence in line.words[0] and all(p in fault.sentence for p in parts)
    check(f"{name}: refused in one sentence", good, f"{fault} {line.codes} {line.stderr}")
