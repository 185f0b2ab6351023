"""torch_step - times the training step of MoCo in PyTorch: what `encode | loss` behind the feeder is compared with

    torch_step.py ARCH [--small] --size N --batch N [--queue K] [--layout contiguous|channels_last]

A JSON line a step: images_s. The views are random, normalised and laid out beforehand.
"""
import argparse
import json
import time

import torch

from moco_torch import LAYOUTS, Moco, all_cores


def main():
    p = argparse.ArgumentParser()
    p.add_argument("arch")
    p.add_argument("--small", action="store_true")
    p.add_argument("--size", type=int, required=True)
    p.add_argument("--batch", type=int, required=True)
    p.add_argument("--queue", type=int, default=4096)
    p.add_argument("--layout", choices=LAYOUTS, default="contiguous")
    o = p.parse_args()
    all_cores()
    moco = Moco(o.arch, o.small, o.queue, LAYOUTS[o.layout])
    views = [torch.randn(o.batch, 3, o.size, o.size).contiguous(memory_format=LAYOUTS[o.layout]) for _ in range(2)]
    while True:
        start = time.monotonic()
        moco.step(*views)
        print(json.dumps({"images_s": o.batch / (time.monotonic() - start)}), flush=True)


if __name__ == "__main__":
    main()
