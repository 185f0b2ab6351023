"""torch_loss - times a loss in PyTorch, value, gradient and queue: what loss is compared with

    torch_loss.py moco|seed|simclr ROWS QUEUE

As the authors' codes do them. A JSON line a step: ms, and mb, by how much the peak resident set has grown since before queue and
embeddings were there.
"""
import argparse
import json
import resource
import time

import torch
from torch.nn import functional as F

from moco_torch import DIM, Queue, all_cores, moco_loss


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def moco(q, other, queue):
    return moco_loss(q, other, queue, 0.1)


def seed(q, teacher, queue):
    q, t = F.normalize(q), F.normalize(teacher)
    one = torch.ones(len(t), 1)
    targets = (torch.cat([one, t @ queue.rows], 1) / 0.01).softmax(1)
    logits = torch.cat([(q * t).sum(1, keepdim=True), q @ queue.rows], 1) / 0.2
    return -(targets * logits.log_softmax(1)).sum(1).mean(), t


def simclr(q, other, _):
    u = F.normalize(torch.cat([q, other]))
    n = len(u)
    logits = (u @ u.T / 0.5).masked_fill(torch.eye(n, dtype=torch.bool), -torch.inf)
    return F.cross_entropy(logits, (torch.arange(n) + n // 2) % n), None


LOSSES = {"moco": moco, "seed": seed, "simclr": simclr}

p = argparse.ArgumentParser()
p.add_argument("loss", choices=LOSSES)
p.add_argument("rows", type=int)
p.add_argument("queue", type=int)
o = p.parse_args()
all_cores()
before = peak()
queue = Queue(o.queue)
q, other = torch.randn(o.rows, DIM, requires_grad=True), torch.randn(o.rows, DIM, requires_grad=o.loss == "simclr")
while True:
    start = time.monotonic()
    q.grad = other.grad = None
    loss, keys = LOSSES[o.loss](q, other, queue)
    loss.backward()
    if keys is not None:
        queue.push(keys)
    print(json.dumps({"ms": 1000 * (time.monotonic() - start), "mb": peak() - before}), flush=True)
