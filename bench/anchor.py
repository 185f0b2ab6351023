#!/usr/bin/env python3
"""anchor.py METHOD OUT - SimCLR or BYOL in PyTorch alone, on augment's views: torchvision's resnet18 as it is, LARS, a cosine
over the run; OUT/epoch-N.pth after each epoch, a line of JSON each with the mean loss

    augment --recipe simclr --size 32 --batch 256 --epochs 2 D | bench/anchor.py simclr out

What it takes from sprat are pictures. Networks start as PyTorch draws them, the loss is written out as the paper has it (SimCLR
eq. 1, BYOL eq. 2), keys are those of BYOL's moving average, .99 rising to 1. bench/anchor runs it beside sprat's own line.
"""
import json
import math
import sys

sys.path.insert(0, __file__.rsplit("/", 2)[0] + "/python")

import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from sprat import Stage

LR, WD, MOMENTUM, TRUST, T = 0.3, 1e-6, 0.9, 0.001, 0.1


def mlp(d, hidden, out, last=False):
    return nn.Sequential(nn.Linear(d, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, out),
                         *([nn.BatchNorm1d(out)] * last))


class Online(nn.Module):
    """Body and head; of BYOL a predictor, too."""

    def __init__(self, method):
        super().__init__()
        self.body = torchvision.models.resnet18()
        self.body.fc = mlp(512, 512, 128, True) if method == "simclr" else mlp(512, 4096, 256)
        self.predictor = mlp(256, 4096, 256) if method == "byol" else None


class Lars:
    def __init__(self, parameters):
        self.all = [(p, torch.zeros_like(p)) for p in parameters]

    @torch.no_grad()
    def step(self, lr):
        for p, v in self.all:
            d = p.grad
            if p.ndim > 1:
                d = d + WD * p
                w, u = p.norm(), d.norm()
                d = d * (TRUST * w / u if w > 0 and u > 0 else 1)
            v.mul_(MOMENTUM).add_(d)
            p.sub_(v, alpha=lr)
            p.grad = None


def simclr(online, key, x):
    z = F.normalize(online.body(x[0])), F.normalize(online.body(x[1]))
    n, z = len(x[0]), torch.cat(z)
    logits = (z @ z.T / T).masked_fill(torch.eye(2 * n, dtype=torch.bool), -math.inf)
    return F.cross_entropy(logits, (torch.arange(2 * n) + n) % (2 * n))


def byol(online, key, x):
    with torch.no_grad():
        k = [F.normalize(key.body(v)) for v in x]
    p = [F.normalize(online.predictor(online.body(v))) for v in x]
    return ((2 - 2 * (p[0] * k[1]).sum(1)).mean() + (2 - 2 * (p[1] * k[0]).sum(1)).mean()) / 2


@torch.no_grad()
def follow(key, online, m):
    for k, p in zip(key.body.parameters(), online.body.parameters()):
        k.mul_(m).add_(p, alpha=1 - m)


def main(method, out):
    torch.manual_seed(0)
    loss_of = {"simclr": simclr, "byol": byol}[method]
    online, key = Online(method), Online(method)
    key.load_state_dict(online.state_dict())
    lars, sum_of, count = Lars(online.parameters()), 0.0, 0
    with Stage("anchor") as stage:
        facts = stage.connect()
        steps, each = facts["fact.steps"], facts["fact.steps_per_epoch"]
        mean, std = (torch.tensor([float(n) for n in facts[f"fact.{name}"].split(",")]) for name in ("mean", "std"))
        for batch in stage.batches(["view0", "view1"]):
            step = batch["step"]
            x = [((torch.tensor(batch[f"view{i}"]) / 255 - mean) / std).permute(0, 3, 1, 2).contiguous() for i in (0, 1)]
            if step:
                follow(key, online, 1 - (1 - 0.99) * (math.cos(math.pi * step / steps) + 1) / 2)
            loss = loss_of(online, key, x)
            loss.backward()
            lars.step(LR * facts["fact.batch"] / 256 * 0.5 * (1 + math.cos(math.pi * step / steps)))
            sum_of, count = sum_of + loss.item(), count + 1
            if (step + 1) % each == 0:
                epoch = (step + 1) // each
                body = {n: t for n, t in online.body.state_dict().items() if not n.startswith("fc.")}
                torch.save(body, f"{out}/epoch-{epoch}.pth")
                print(json.dumps({"epoch": epoch, "loss": round(sum_of / count, 4)}), flush=True)
                sum_of, count = 0.0, 0


if __name__ == "__main__":
    main(*sys.argv[1:])
