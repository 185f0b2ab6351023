"""net_torch - the reference: torchvision's own networks (of tokens: vit_torch), without classifier and dropout, with our heads,
BN by parts and small stems

    model = reference("resnet18", True, "linear", 32, weights, torch.float64, parts=4)
    feature, head = model(normalised(views, torch.float64))      and what its predictor gives, if it has one

Two precisions can be compared only where the network is differentiable: one ReLU input within rounding of zero, one pair of
equals under a max-pool, and a gradient differs by parts in a thousand, with either side right. clear() moves weights and
views to a point where every kink is far away; from there f32 must agree to rounding.
"""
import contextlib
import copy
import ctypes
import functools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from net_ct import MEAN, STD
from products import autocast
from vit_torch import KINDS as VITS, Vit

import torch
import torchvision
from torch import nn
from torchvision.models.resnet import Bottleneck
from torchvision.ops import StochasticDepth

torch.set_num_threads(2)
ctypes.CDLL(None).mallopt(-4, 0), ctypes.CDLL(None).mallopt(-1, 1 << 30)  # memory is kept: M_MMAP_MAX, M_TRIM_THRESHOLD


class PartsBN(nn.modules.batchnorm._BatchNorm):
    """Batch statistics over contiguous parts of the rows, floor(iB/n) to floor((i+1)B/n), or for each view between the cuts that
    it is given; the running statistics move, once for each view, by the mean over its parts of batch mean and unbiased
    variance."""
    parts, views, alone = 1, None, False

    def _check_input_dim(self, x):
        pass

    def forward(self, x):
        views = self.views or [[i * len(x) // self.parts for i in range(self.parts + 1)]]
        if not self.training or views == [[0, len(x)]]:
            return super().forward(x)
        batches = []
        for cuts in views:
            part = [x[a:b] for a, b in zip(cuts, cuts[1:])]
            batches += part
            part = part[-1:] if self.alone else part
            with torch.no_grad():
                wide, over = [p.to(self.running_mean.dtype) for p in part], [0, *range(2, x.dim())]
                for running, now in ((self.running_mean, [p.mean(over) for p in wide]),
                                     (self.running_var, [p.var(over, unbiased=True) for p in wide])):
                    running.lerp_(torch.stack(now).mean(0), self.momentum)
        return torch.cat([nn.functional.batch_norm(p, None, None, self.weight, self.bias, True, 0.0, self.eps) for p in batches])


class ReLU6(nn.ReLU6):
    """PyTorch 1.13 lacks its gradient in bfloat16 on the CPU. Clamping rounds nothing: float32 gives the same."""

    def forward(self, x):
        return super().forward(x.float()).to(x.dtype) if x.dtype == torch.bfloat16 else super().forward(x)


class Windows(torch.autograd.Function):
    """A depthwise convolution of a padded x, tap by tap. PyTorch's own in float64 is a loop over channels: half the time of a
    step on small pictures."""

    @staticmethod
    def taps(w, size, stride):
        """Row and column of each tap, and what it reads."""
        for i, j in np.ndindex(*w.shape[2:]):
            yield i, j, (..., slice(i, i + (size[0] - 1) * stride + 1, stride), slice(j, j + (size[1] - 1) * stride + 1, stride))

    @staticmethod
    def forward(ctx, x, w, stride):
        ctx.save_for_backward(x, w)
        ctx.stride = stride
        y = x.new_zeros(*x.shape[:2], *((n - k) // stride + 1 for n, k in zip(x.shape[2:], w.shape[2:])))
        for i, j, at in Windows.taps(w, y.shape[2:], stride):
            y.addcmul_(x[at], w[:, :, i, j, None])
        return y

    @staticmethod
    def backward(ctx, d):
        x, w = ctx.saved_tensors
        dx, dw = torch.zeros_like(x), torch.zeros_like(w)
        for i, j, at in Windows.taps(w, d.shape[2:], ctx.stride):
            dx[at].addcmul_(d, w[:, :, i, j, None])
            dw[:, 0, i, j] = torch.einsum("nchw,nchw->c", x[at], d)
        return dx, dw, None


class Depthwise(nn.Conv2d):
    def forward(self, x):
        if x.dtype != torch.float64 or x.shape[2] * x.shape[3] > 64 * 64:
            return super().forward(x)
        return Windows.apply(nn.functional.pad(x, 2 * self.padding[:1] + 2 * self.padding[1:]), self.weight, self.stride[0])


def make_head(kind, width, dim):
    """Of a name, or of layers as in 2048,bn,relu,256."""
    named = {"none": "", "linear": f"{dim}", "simple": f"{width},relu,{dim}", "wide": f"{2 * width},relu,{dim}",
             "deep": f"{width},relu,{width},relu,{dim}"}
    layers, at = [], width
    for word in filter(None, named.get(kind, kind).split(",")):
        if word.isdigit():
            layers.append(nn.Linear(at, int(word)))
            at = int(word)
        else:
            layers.append({"bn": lambda: nn.BatchNorm1d(at), "relu": nn.ReLU, "gelu": nn.GELU}[word]())
    return nn.Sequential(*layers)


def whole(arch):
    """torchvision's network, classifier and all; SwAV's of its pieces, each of twice the channels."""
    if arch != "resnet50w2":
        return getattr(torchvision.models, arch)(weights=None)
    model = torchvision.models.ResNet(Bottleneck, [1, 1, 1, 1])
    model.inplanes, model.bn1 = 128, nn.BatchNorm2d(128)
    model.conv1 = nn.Conv2d(3, 128, 7, stride=2, padding=3, bias=False)
    for i, blocks in enumerate([3, 4, 6, 3]):
        setattr(model, f"layer{i + 1}", model._make_layer(Bottleneck, 128 << i, blocks, stride=1 if i == 0 else 2))
    model.fc = nn.Linear(4096, 1000)
    return model


@functools.lru_cache(maxsize=None)
def _backbone(arch, small):
    if arch in VITS:
        return Vit(VITS[arch], small)
    model = whole(arch)
    if arch.startswith("resnet"):
        model.fc = nn.Identity()
        if small:
            model.conv1 = nn.Conv2d(3, model.conv1.out_channels, 3, stride=1, padding=1, bias=False)
            model.maxpool = nn.Identity()
    elif arch.startswith("shufflenet"):
        model.fc = nn.Identity()
        if small:
            model.conv1[0].stride = (1, 1)
            model.maxpool = nn.Identity()
    else:
        model.classifier[-1] = nn.Identity()
        if small:
            model.features[0][0].stride = (1, 1)
    return model


def backbone(arch, small):
    """torchvision's network whose forward gives the feature; drawing its weights takes longer than copying them."""
    return copy.deepcopy(_backbone(arch, small))


class Reference(nn.Module):
    def __init__(self, arch, small, kind, dim, predictor):
        super().__init__()
        self.body = backbone(arch, small)
        for m in self.body.modules():
            if isinstance(m, (nn.Dropout, StochasticDepth)):
                m.p = 0.0
        self.head = make_head(kind, [m for m in self.body.modules() if hasattr(m, "weight")][-1].weight.shape[0], dim)
        several = dict(p.split("=", 1) for p in predictor.split()) if "=" in predictor.split(",")[0] else {}
        made = {word: make_head(spelling, dim, dim) for word, spelling in several.items()}
        self.predictor = nn.ModuleDict(made) if made else make_head(predictor, dim, dim)

    def forward(self, x):
        feature = self.body(x)
        found = feature, self.head(feature)
        if isinstance(self.predictor, nn.ModuleDict):
            return (*found, *(p(found[-1]) for p in self.predictor.values()))
        return (*found, self.predictor(found[-1])) if len(self.predictor) else found

    def load(self, named):
        """Strict: every name and every shape must be torchvision's own, head.* and predictor.* an nn.Sequential's."""
        named = {n: torch.from_numpy(a.copy()) for n, a in named.items()}
        for stem, module in (("head.", self.head), ("predictor.", self.predictor)):
            module.load_state_dict({n.removeprefix(stem): named.pop(n) for n in list(named) if n.startswith(stem)}, strict=True)
        self.body.load_state_dict(named, strict=True)

    def named(self, kind):
        """{torchvision's name: float64 array} of "parameters", "gradients" or "statistics"."""
        rows = self.named_buffers() if kind == "statistics" else self.named_parameters()
        rows = {n.replace("body.", "", 1): t.grad if kind == "gradients" else t for n, t in rows if t.is_floating_point()}
        return {n: t.detach().double().numpy().copy() for n, t in rows.items()}


def reference(arch, small, kind, dim, weights, dtype, parts=1, momentum=1.0, predictor="none"):
    model = Reference(arch, small, kind, dim, predictor)
    model.load(weights)
    for m in model.modules():
        if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)):
            m.__class__ = PartsBN
            m.parts, m.momentum = parts, momentum
        if isinstance(m, nn.ReLU6):
            m.__class__ = ReLU6
        if isinstance(m, nn.Conv2d) and m.groups == m.in_channels:
            m.__class__ = Depthwise
    return model.train().to(storage(dtype))


def set_views(model, views):
    """The cuts of each view into batches of their own, among the rows that the model gets next."""
    for m in model.modules():
        if isinstance(m, PartsBN):
            m.views = views


def reset_statistics(model):
    for m in model.modules():
        if isinstance(m, PartsBN):
            m.reset_running_stats()


def set_alone(model, alone):
    """Whether running statistics move by the last part alone: wrong, to see that a comparison notices."""
    for m in model.modules():
        if isinstance(m, PartsBN):
            m.alone = alone


def storage(dtype):
    """bfloat16 stands for PyTorch's autocast (products.py): all tensors in float32, what they go through in bfloat16 where
    PyTorch thinks fit."""
    return torch.float32 if dtype == torch.bfloat16 else dtype


def outputs(model, views, dtype):
    """[feature, head output, and the predictor's where there is one] of views."""
    x = normalised(views, storage(dtype))
    with autocast(dtype):
        found = model(x)
    return [o.to(x.dtype) for o in found]


def normalised(views, dtype):
    x = torch.from_numpy(views).to(dtype).permute(0, 3, 1, 2) / 255
    mean, std = (torch.from_numpy(v).to(dtype).view(1, 3, 1, 1) for v in (MEAN, STD))
    return ((x - mean) / std).contiguous()


# --- a point without kinks near by ---

KINKS = {nn.ReLU: (0.0,), ReLU6: (0.0, 6.0), nn.Hardswish: (-3.0, 3.0), nn.Hardsigmoid: (-3.0, 3.0)}
REACH = 0.1      # how far a bias may be moved
TIE = 2e-5       # two inputs of a max-pool nearer than this may trade places in f32


def _shifts(values, kinks):
    """What to add to each row of values so that none is near a kink: the middle of the widest gap within reach. And its half."""
    u = torch.cat([(values - k).clamp(-REACH, REACH) for k in kinks], 1)
    ends = torch.full((len(u), 1), REACH, dtype=u.dtype)
    u = torch.cat([-ends, u.sort(1)[0], ends], 1)
    widest = u.diff(dim=1).argmax(1, keepdim=True)
    low, high = u.gather(1, widest)[:, 0], u.gather(1, widest + 1)[:, 0]
    return -(low + high) / 2, (high - low) / 2


@contextlib.contextmanager
def moving_biases(model, passes=1):
    """While it lasts a forward pass, or as many in step, each in a thread, move the bias before every activation away from kinks,
    to a number of f32. Gives a list of the distances that are left."""
    here, given, margins, hooks, met = threading.local(), {}, [], [], threading.Barrier(passes, timeout=60)

    def after(module, args, out):
        here.last = module

    def before(module, args):
        x, bias = args[0], here.last.bias
        given[threading.get_ident()] = x.detach().transpose(0, 1).flatten(1)
        met.wait()
        shift, margin = _shifts(torch.cat(list(given.values()), 1), KINKS[type(module)])
        moved = (bias.detach() + shift).float().to(bias.dtype)
        by = (moved - bias.detach()).view([1, -1] + [1] * (x.dim() - 2))
        met.wait()
        bias.data.copy_(moved)
        margins.append(margin.min().item())
        return (x + by,)

    for m in model.modules():
        if getattr(m, "bias", None) is not None:
            hooks.append(m.register_forward_hook(after))
        if type(m) in KINKS:
            hooks.append(m.register_forward_pre_hook(before))
    yield margins
    for h in hooks:
        h.remove()


def clear_ties(model, views):
    """Moves single pixels until the two largest inputs of every max-pool window differ. Returns how many windows stay in
    doubt."""
    body = model.body
    if not isinstance(getattr(body, "maxpool", None), nn.MaxPool2d):
        return 0
    for _ in range(30):
        with torch.no_grad():
            y = body.conv1(normalised(views, torch.float64))
            y = y if isinstance(body.conv1, nn.Sequential) else body.relu(body.bn1(y))
            n, c, h, w = y.shape
            windows = nn.functional.unfold(y, 3, padding=1, stride=2).view(n, c, 9, -1)
            top, where = windows.topk(2, dim=2)
            row, _, at = torch.nonzero((top[:, :, 0] > 0) & (top[:, :, 0] - top[:, :, 1] < TIE), as_tuple=True)
        for r, a in zip(row.tolist(), at.tolist()):
            wide = (w - 1) // 2 + 1
            i, j = 4 * (a // wide), 4 * (a % wide)
            views[r, min(i, views.shape[1] - 1), min(j, views.shape[2] - 1)] += np.uint8(37)
        if len(row) == 0:
            return 0
    return len(row)


def clear(model, *passes):
    """(margin, windows in doubt) of forward passes on views; model and views are changed."""
    def forward(views):
        with torch.no_grad():
            model(normalised(views, torch.float64))

    doubt = sum(clear_ties(model, views) for views in passes)
    with moving_biases(model, len(passes)) as margins, ThreadPoolExecutor(len(passes)) as pool:
        list(pool.map(forward, passes))
    return min(margins, default=1.0), doubt
