"""torch_knn - times weighted nearest neighbours in PyTorch, as MoCo's CIFAR-10 demo computes them: probe knn's yardstick

    torch_knn.py TRAIN TEST DIM CLASSES

A JSON line a run: ms, and mb, by how much the peak resident set has grown since the features were there.
"""
import json
import resource
import sys
import time

import torch
from torch.nn.functional import normalize

from moco_torch import all_cores

BATCH, K, T = 512, 200, 0.1


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def knn(train, train_label, test, test_label, classes):
    bank, hits = normalize(train).t().contiguous(), 0
    for x, label in zip(test.split(BATCH), test_label.split(BATCH)):
        cosine, near = (normalize(x) @ bank).topk(K, dim=-1)
        votes = torch.zeros(len(x), classes).scatter_add_(1, train_label[near], (cosine / T).exp())
        hits += (votes.argmax(1) == label).sum().item()
    return 100 * hits / len(test)


train, test, dim, classes = map(int, sys.argv[1:])
all_cores()
features = torch.randn(train, dim), torch.randint(classes, (train,)), torch.randn(test, dim), torch.randint(classes, (test,))
before = peak()
with torch.no_grad():
    while True:
        start = time.monotonic()
        top1 = knn(*features, classes)
        print(json.dumps({"ms": 1000 * (time.monotonic() - start), "mb": peak() - before, "top1": top1}), flush=True)
