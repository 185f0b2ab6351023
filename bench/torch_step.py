"""torch_step - times the training step of MoCo in PyTorch: what `encode | loss` behind the feeder is compared with

    torch_step.py ARCH [--small] --size N --batch N [--queue K] [--layout contiguous|channels_last] [--precision f32|bf16]
    torch_step.py ARCH [--small] --size N --batch N [--queue K] --screen f32,bf16

A JSON line a step: images_s. The views are random, normalised and laid out beforehand. With --screen both layouts are tried for
two steps in each of these precisions, and a line each says the second's milliseconds.
"""
import argparse
import itertools
import json
import time

import torch

from moco_torch import LAYOUTS, PRECISIONS, Moco, all_cores


def steps(o, layout, precision):
    """Seconds of one step after the other."""
    moco = Moco(o.arch, o.small, o.size, o.queue, layout, precision)
    views = [torch.randn(o.batch, 3, o.size, o.size).contiguous(memory_format=LAYOUTS[layout]) for _ in range(2)]
    while True:
        start = time.monotonic()
        moco.step(*views)
        yield time.monotonic() - start


def main():
    p = argparse.ArgumentParser()
    p.add_argument("arch")
    p.add_argument("--small", action="store_true")
    p.add_argument("--size", type=int, required=True)
    p.add_argument("--batch", type=int, required=True)
    p.add_argument("--queue", type=int, default=4096)
    p.add_argument("--layout", choices=LAYOUTS, default="contiguous")
    p.add_argument("--precision", choices=PRECISIONS, default="f32")
    p.add_argument("--screen", type=lambda s: s.split(","))
    o = p.parse_args()
    all_cores()
    if not o.screen:
        for seconds in steps(o, o.layout, o.precision):
            print(json.dumps({"images_s": o.batch / seconds}), flush=True)
    for layout, precision in itertools.product(LAYOUTS, o.screen):
        _, seconds = itertools.islice(steps(o, layout, precision), 2)
        print(json.dumps({"layout": layout, "precision": precision, "ms": 1000 * seconds}), flush=True)


if __name__ == "__main__":
    main()
