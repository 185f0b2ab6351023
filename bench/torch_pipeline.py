"""torch_pipeline - pictures to trained steps in PyTorch, a DataLoader with worker processes: what the whole line is compared with

    torch_pipeline.py ARCH DATA [--batch N] [--queue K] [--workers 2] [--layout contiguous|channels_last] [--precision f32|bf16]

A JSON line a step: images_s. Recipe moco-cifar at 32x32, network for small images. Pictures are decoded beforehand, as
augment's cache holds them.
"""
import argparse
import json
import time

import torch
from torchvision import transforms

from augment import RECIPES, load
from moco_torch import LAYOUTS, PRECISIONS, Moco, all_cores


class TwoViews(torch.utils.data.Dataset):
    def __init__(self, path):
        self.pictures, _ = load(path, decoded=True)
        self.view = transforms.Compose(RECIPES["moco-cifar"][1] + [
            transforms.ToTensor(), transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))])

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, i):
        return self.view(self.pictures[i]), self.view(self.pictures[i])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("arch")
    p.add_argument("data")
    p.add_argument("--batch", type=int, default=256)
    p.add_argument("--queue", type=int, default=4096)
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--layout", choices=LAYOUTS, default="contiguous")
    p.add_argument("--precision", choices=PRECISIONS, default="f32")
    o = p.parse_args()
    all_cores()
    moco = Moco(o.arch, True, 32, o.queue, o.layout, o.precision)
    batches = torch.utils.data.DataLoader(TwoViews(o.data), o.batch, shuffle=True, drop_last=True, num_workers=o.workers)
    while True:
        since = time.monotonic()
        for views in batches:
            moco.step(*views)
            print(json.dumps({"images_s": o.batch / (time.monotonic() - since)}), flush=True)
            since = time.monotonic()


main()
