#!/usr/bin/env python3
"""loader.py - augment as the DataLoader of a training loop in PyTorch; here one that counts

    augment --recipe mocov2 D | python/examples/loader.py
"""
import sys
sys.path.insert(0, __file__.rsplit("/", 2)[0])

import time

import torch

from sprat import Stage

with Stage("loader") as stage:
    facts, began, count = stage.connect(), time.time(), 0
    for batch in stage.batches([f"view{i}" for i in range(facts["fact.views"])] + ["index", "label"]):
        views = [torch.tensor(batch[f"view{i}"]).permute(0, 3, 1, 2) / 255 for i in range(facts["fact.views"])]
        count += len(batch["index"])    # here a step of yours
        if batch["step"] % facts["fact.steps_per_epoch"] == 0:
            print(f"epoch {batch['epoch'] + 1}: {len(views)} views of {tuple(views[0].shape)}, mean {views[0].mean():.3f}",
                  flush=True)
    print(f"{count} images in {time.time() - began:.1f} s")
