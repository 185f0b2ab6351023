"""net_case - what the tests of whole networks work on: a network, a batch of pictures, weights far from every kink"""
import functools
from dataclasses import dataclass, replace

import numpy as np

from net_ct import Net
from net_torch import clear, reference
from sprat_ct import check

import torch

DIM = 32


@dataclass(frozen=True)
class Case:
    arch: str
    small: bool
    size: int
    head: str = "linear"
    predictor: str = "none"
    parts: int = 1          # with BN statistics of their own, where a trainer makes them
    batch: int = 13
    momentum: float = 1.0   # of running statistics
    width: int = 0          # 0: square
    dropout: float = 0.0
    drop_path: float = 0.0
    precision: str = "f32"
    draw: int = 0           # of weights and pictures
    sides: tuple = ()       # of training steps: moco_steps
    crop: int = 0           # side of a third view there; 0: there is none
    ema_buffers: bool = False
    freeze: str = "none"
    rates: str = "1"

    def __str__(self):
        return (f"{self.arch}{' --small' if self.small else ''} {self.size}{f'x{self.width}' if self.width else ''} {self.head}"
                f"{f' > {self.predictor}' if self.predictor != 'none' else ''}"
                f"{f' {self.parts} parts' if self.parts > 1 else ''}{' both sides' if len(self.sides) > 1 else ''}"
                f"{f' and {self.crop}' if self.crop else ''}{' ema of buffers' if self.ema_buffers else ''}"
                f"{f' frozen {self.freeze}' if self.freeze != 'none' else ''}"
                f"{f' rates {self.rates}' if self.rates != '1' else ''}"
                f"{' bf16' if self.precision == 'bf16' else ''}")

    @property
    def extent(self):
        return self.size, self.width or self.size

    @property
    def extents(self):
        """Of the views of a training step."""
        return [self.extent, self.extent] + [(self.crop, self.crop)] * (self.crop > 0)

    def net(self, backend):
        return Net(self.arch, self.small, self.head, DIM, self.extent, backend, self.dropout, self.drop_path,
                   self.precision, self.predictor, self.freeze)

    def reference(self, weights, dtype):
        return reference(self.arch, self.small, self.head, DIM, weights, dtype, self.parts, self.momentum,
                         self.predictor)


def pictures(draw, case, size=None):
    """Smooth random pictures with noise, u8."""
    smooth = draw.uniform(0, 255, (case.batch, 5, 5, 3))
    for axis, extent in enumerate(size or case.extent, 1):
        at = np.linspace(0, 3.999, extent)
        i, f = at.astype(int), (at % 1).reshape([-1] + [1] * (3 - axis))
        smooth = smooth.take(i, axis) * (1 - f) + smooth.take(i + 1, axis) * f
    return np.clip(smooth + draw.normal(0, 20, smooth.shape), 0, 255).astype(np.uint8)


@functools.lru_cache(maxsize=1)
def drawn(case):
    """A net and the weights that net_init() gives it."""
    net = case.net("blas")
    return net, net.export(*net.init(7))


def starting_weights(case, draw):
    """net_init's, but BN's scales are about 0.7 and its shifts about 1: nine in ten activations then lie on the right of zero.
    With 1 and 0, where half of them do, an error of bf16's size in the values takes the gradients of deep networks anywhere,
    PyTorch's too."""
    net, weights = drawn(replace(case, draw=0))
    weights = {n: a.copy() for n, a in weights.items()}
    for t in net.tensors:
        if t.norm_or_bias:
            weights[t.name] += draw.uniform(-0.4, 0.4, t.shape).astype(np.float32)
    for prefix in [n.removesuffix("running_mean") for n in weights if n.endswith("running_mean")]:
        weights[prefix + "weight"] -= np.float32(0.3)
        weights[prefix + "bias"] += np.float32(1)
    return weights


@functools.lru_cache(maxsize=2)
def situation(case):
    """(weights, views, gradients of the outputs, None for one that it lacks), in f32 far from every kink; bf16's rounding reaches
    every kink anyway."""
    draw = np.random.default_rng(1 + case.draw)
    weights, views = starting_weights(case, draw), pictures(draw, case)
    if case.precision == "f32":
        model = case.reference(weights, torch.float64)
        margin, doubt = clear(model, views)
        check(f"{case}: no kink within rounding", margin > 2e-5 and doubt == 0, f"nearest {margin:.1e}, {doubt} windows in doubt")
        weights.update({n: a.astype(np.float32) for n, a in model.named("parameters").items()})
    d = [draw.normal(0, 1 / case.batch, (case.batch, width)).astype(np.float32) if width else None
         for width in case.net("blas").widths]
    return weights, views, d


def refused(word, **change):
    """That a network of such a configuration is refused, and by a sentence with this word."""
    try:
        Net(**dict(dict(arch="resnet18", small=False, head="linear", dim=8, size=(64, 64)), **change))
        sentence = "no refusal"
    except RuntimeError as e:
        sentence = str(e)
    check(f"{change} is refused", word in sentence, sentence)
