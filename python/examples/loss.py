#!/usr/bin/env python3
"""loss.py [TEMPERATURE [QUEUE]] - a loss in PyTorch: InfoNCE against a queue of keys, as `loss moco`

    augment D | encode -a resnet18 -o run | python/examples/loss.py 0.2 >> loss.jsonl

The queue is its state: encode keeps it in the checkpoint, and the same line again goes on with it.
"""
import sys
sys.path.insert(0, __file__.rsplit("/", 2)[0])

import numpy as np
import torch
from torch.nn.functional import cross_entropy, normalize

from sprat import Stage

temperature, size = float(sys.argv[1]) if sys.argv[1:] else 0.2, int(sys.argv[2]) if sys.argv[2:] else 1024
queue = None


def step(batch):
    global queue
    q, k = torch.tensor(batch["q0"], requires_grad=True), torch.tensor(batch["k1"])
    if queue is None:
        queue = torch.from_numpy(np.random.default_rng(0).standard_normal((size, q.shape[1]), np.float32))
    logits = normalize(q) @ normalize(torch.cat([k, queue])).T / temperature
    logits = torch.cat([logits.diagonal()[:, None], logits[:, len(k):]], 1)     # the other keys of the batch are no negatives
    loss = cross_entropy(logits, torch.zeros(len(q), dtype=torch.long))
    loss.backward()
    queue = torch.cat([k, queue])[:size]
    return {"q0": q.grad}, {"loss": loss, "top1": 100 * (logits.argmax(1) == 0).float().mean()}


def restore(state):
    global queue
    queue = torch.tensor(state["queue"])


with Stage("infonce", facts={"loss": f"infonce:t={temperature},k={size}"}) as stage:
    stage.train(["q0", "k1"], step, lambda: {"queue": queue}, restore)
