"""losses_torch - each loss written down in PyTorch from its definition, for test_losses.py

A transcription takes inputs by name (float64, those that are trained with a gradient; labels int64), the parameters by name,
and what the loss remembers by name, and gives the value and what it remembers then. Where a loss begins with random numbers the
first ones are the library's.
"""
import torch
from torch.nn.functional import cross_entropy, normalize as unit

TRANSCRIPTIONS = {}


def transcription(f):
    TRANSCRIPTIONS[f.__name__] = f
    return f


def crossed(x, p, k):
    """Mean cosine of both views' predictions and the other view's target."""
    return sum((unit(x[f"{p}{i}"]) * unit(x[f"{k}{1 - i}"].detach())).sum(1).mean() for i in range(2)) / 2


def push(queue, at, rows):
    """The queue after rows have replaced its oldest, and where the next ones go."""
    queue, order = queue.clone(), [(at + i) % len(queue) for i in range(len(rows))]
    queue[order] = rows.detach()
    return queue, (at + len(rows)) % len(queue)


def info_nce(q, k, queue, t):
    logits = torch.cat([(unit(q) * unit(k.detach())).sum(1, keepdim=True), unit(q) @ queue.T], 1) / t
    return cross_entropy(logits, torch.zeros(len(q), dtype=torch.long))


@transcription
def moco(x, p, s):
    queue, at = s["loss.queue"], s["loss.pointer"]
    if not p.get("sym", 0):
        loss, keys = info_nce(x["q0"], x["k1"], queue, p["t"]), [x["k1"]]
    else:
        loss = (info_nce(x["q0"], x["k1"], queue, p["t"]) + info_nce(x["q1"], x["k0"], queue, p["t"])) / 2
        keys = [x["k0"], x["k1"]]
    for k in keys:
        queue, at = push(queue, at, unit(k))
    return loss, {"loss.queue": queue, "loss.pointer": at}


@transcription
def simsiam(x, p, s):
    return -crossed(x, "p", "q"), s


@transcription
def byol(x, p, s):
    return 2 - 2 * crossed(x, "p", "k"), s


@transcription
def ce(x, p, s):
    known = x["label"] >= 0
    if not known.any():
        return 0 * x["q0"].sum(), s
    return cross_entropy(x["q0"][known], x["label"][known], label_smoothing=p.get("smooth", 0)), s
