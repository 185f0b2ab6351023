"""torch_loss - times MoCo's loss in PyTorch, value, gradient and queue: what loss is compared with

    torch_loss.py ROWS QUEUE

A JSON line a step: ms, and mb, by how much the peak resident set has grown since before queue and embeddings were there.
"""
import argparse
import json
import resource
import time

import torch

from moco_torch import DIM, Queue, all_cores, moco_loss


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


p = argparse.ArgumentParser()
p.add_argument("rows", type=int)
p.add_argument("queue", type=int)
o = p.parse_args()
all_cores()
before = peak()
queue = Queue(o.queue)
q, k = torch.randn(o.rows, DIM, requires_grad=True), torch.randn(o.rows, DIM)
while True:
    start = time.monotonic()
    q.grad = None
    loss, keys = moco_loss(q, k, queue, 0.1)
    loss.backward()
    queue.push(keys)
    print(json.dumps({"ms": 1000 * (time.monotonic() - start), "mb": peak() - before}), flush=True)
