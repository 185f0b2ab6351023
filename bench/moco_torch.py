"""moco_torch - one step of MoCo in PyTorch, as its authors' code does it (facebookresearch/moco), at its best on a CPU

    moco = Moco("mobilenet_v3_small", small=True, size=32, queue=65536, layout="channels_last", precision="bf16")
    loss = moco.step(query_views, key_views)          normalised f32 [B, 3, h, w]

Query forward and backward, key forward after the moving average, InfoNCE against the queue, SGD with momentum. Left out are the
permutation of the key batch and torchvision's dropout and stochastic depth. Parameters move by the fused loops that PyTorch has
for lists of tensors. bf16 is PyTorch's autocast over networks and loss.
"""
import os

import torch
import torchvision
from torch import nn
from torch.nn import functional as F

DIM = 128
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
PRECISIONS = ("f32", "bf16")


def all_cores():
    torch.set_num_threads(len(os.sched_getaffinity(0)))


def network(arch, small, size):
    """torchvision's backbone with one linear head on its feature."""
    if arch == "deit_tiny":
        model = torchvision.models.VisionTransformer(size, 4 if small else 16, num_layers=12, num_heads=3, hidden_dim=192,
                                                     mlp_dim=768)
        model.heads = nn.Linear(192, DIM)
        return model
    model = getattr(torchvision.models, arch)(weights=None,
                                              **({"stochastic_depth_prob": 0} if arch.startswith("efficient") else {}))
    if arch.startswith("resnet"):
        model.fc = nn.Linear(model.fc.in_features, DIM)
        if small:
            model.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
            model.maxpool = nn.Identity()
    else:
        model.classifier[-2] = nn.Identity()
        model.classifier[-1] = nn.Linear(model.classifier[-1].in_features, DIM)
        if small:
            model.features[0][0].stride = (1, 1)
    return model


class Queue:
    """Random unit rows at first, as in the authors' code."""

    def __init__(self, size):
        self.rows, self.at = F.normalize(torch.randn(DIM, size), dim=0), 0

    def push(self, keys):
        self.rows[:, self.at:self.at + len(keys)] = keys.T
        self.at = (self.at + len(keys)) % self.rows.shape[1]


def moco_loss(q, k, queue, t):
    """InfoNCE of embeddings that are not normalised yet, and the keys to enqueue once the gradient is taken; k gets none."""
    q, k = F.normalize(q, dim=1), F.normalize(k, dim=1)
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.rows], dim=1) / t
    return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long)), k


class Moco:
    def __init__(self, arch, small, size, queue, layout="contiguous", precision="f32", t=0.1, ema=0.99, lr=0.03):
        layout = LAYOUTS[layout]
        self.query, self.key = (network(arch, small, size).to(memory_format=layout) for _ in range(2))
        self.key.load_state_dict(self.query.state_dict())
        self.key.requires_grad_(False)
        self.queue, self.layout, self.bf16, self.t, self.ema = Queue(queue), layout, precision == "bf16", t, ema
        self.pairs = list(self.key.parameters()), list(self.query.parameters())
        self.optimiser = torch.optim.SGD(self.query.parameters(), lr, momentum=0.9, weight_decay=5e-4, foreach=True)

    @torch.no_grad()
    def keys(self, views):
        torch._foreach_mul_(self.pairs[0], self.ema)
        torch._foreach_add_(self.pairs[0], self.pairs[1], alpha=1 - self.ema)
        return self.key(views)

    def step(self, query_views, key_views):
        with torch.autocast("cpu", torch.bfloat16, self.bf16):
            q = self.query(query_views.contiguous(memory_format=self.layout))
            k = self.keys(key_views.contiguous(memory_format=self.layout))
            loss, keys = moco_loss(q, k, self.queue, self.t)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.queue.push(keys)
        return loss.item()
