"""augment - the views of a recipe by torchvision on PIL, in one process: what augment's delivered stream is compared with

    augment.py RECIPE DATA [--decoded] [--every S]        a JSON line every S seconds: images_s

DATA is a tar of photos or an IDX file (gz). Files are read into memory first, so nothing waits for a disk. Each picture is
decoded once for two views, or with --decoded before everything else; views are laid into one u8 array [B, size, size, 3], as
augment's are.
"""
import argparse
import gzip
import io
import json
import random
import tarfile
import time

import numpy as np
import torch
from PIL import Image, ImageFilter
from torchvision import transforms

BATCH = 64


class Blur:
    def __call__(self, picture):
        return picture.filter(ImageFilter.GaussianBlur(radius=random.uniform(0.1, 2)))


def colour():
    return [transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8), transforms.RandomGrayscale(p=0.2)]


RECIPES = {  # name: (size, transform)
    "moco-cifar": (32, [transforms.RandomResizedCrop(32, scale=(0.08, 1)), *colour(), transforms.RandomHorizontalFlip()]),
    "mocov2": (224, [transforms.RandomResizedCrop(224, scale=(0.2, 1)), *colour(), transforms.RandomApply([Blur()], p=0.5),
                     transforms.RandomHorizontalFlip()]),
}


def decode(data):
    return Image.open(io.BytesIO(data)).convert("RGB")


def files(path):
    """The bytes of every picture of a tar."""
    with tarfile.open(path) as tar:
        return [tar.extractfile(member).read() for member in tar if member.isfile()]


def idx_pictures(path):
    with gzip.open(path) as f:
        raw = f.read()
    count, height, width = np.frombuffer(raw[4:16], ">i4")
    return [Image.fromarray(a).convert("RGB") for a in np.frombuffer(raw, np.uint8, offset=16).reshape(count, height, width)]


def load(path, decoded):
    """Pictures to draw from, and what to do to one before its first view."""
    if not path.endswith(".tar"):
        return idx_pictures(path), lambda picture: picture
    if decoded:
        return [decode(data) for data in files(path)], lambda picture: picture
    return files(path), decode


def main():
    p = argparse.ArgumentParser()
    p.add_argument("recipe", choices=RECIPES)
    p.add_argument("data")
    p.add_argument("--decoded", action="store_true")
    p.add_argument("--every", type=float, default=0.5)
    o = p.parse_args()
    torch.set_num_threads(1)
    size, steps = RECIPES[o.recipe]
    view, (pictures, first) = transforms.Compose(steps), load(o.data, o.decoded)
    batch = np.zeros((2, BATCH, size, size, 3), np.uint8)
    since, done = time.monotonic(), 0
    while True:
        for i in range(BATCH):
            picture = first(random.choice(pictures))
            batch[0, i], batch[1, i] = view(picture), view(picture)
        done += BATCH
        seconds = time.monotonic() - since
        if seconds >= o.every:
            print(json.dumps({"images_s": done / seconds}), flush=True)
            since, done = time.monotonic(), 0


if __name__ == "__main__":
    main()
