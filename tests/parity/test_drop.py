"""test_drop - dropout and stochastic depth: PyTorch with the same masks, masks that are what they should be, refusals"""
import sys
from dataclasses import replace

import numpy as np

from net_case import Case, refused, situation
from net_ct import EVAL, HEAD, KEY, OUTPUTS, TRAIN, Net, Pass, floats, lib, ptr
from net_torch import normalised
from sprat_ct import BACKENDS, check, done, relative
from test_net import judge
from trainer_ct import Trainer

import torch
import torchvision
from torch import nn

SEED, STEP = 5, 3


class Masked(nn.Module):
    """In place of a module that drops: its masks, given."""

    def __init__(self, mask):
        super().__init__()
        self.mask = mask

    def forward(self, x):
        return x * self.mask.view(len(x), *([-1] + [1] * (x.dim() - 2))).to(x.dtype)


class MaskedTokens(nn.Module):
    """The same for tokens, of which only the first may have been computed."""

    def __init__(self, mask):
        super().__init__()
        self.mask = torch.from_numpy(mask.copy())

    def forward(self, x):
        n = self.mask.shape[1]
        return torch.cat([x[:, :n] * self.mask.to(x.dtype), x[:, n:]], 1)


def put_masks(model, masks):
    """Every mask in the place where torchvision drops, timm for blocks of tokens, in the order of the network; whether that took
    them all."""
    if any(not by_image for _, by_image, _ in masks) and hasattr(model.body, "blocks"):
        places = [(model.body, "drop")]
        for block in model.body.blocks:
            places += [(block.attn, "drop"), (block.mlp, "drop1"), (block.mlp, "drop2")]
        for (parent, name), (_, _, mask) in zip(places, masks):
            setattr(parent, name, MaskedTokens(mask))
        return len(places) == len(masks)
    if hasattr(model.body, "blocks"):
        branches = [(b, n) for b in list(model.body.blocks)[1:] for n in ("attn", "mlp")]
        for (block, name), (_, _, mask) in zip(branches, masks):
            drop = Masked(torch.from_numpy(mask[:, 0, :1].copy()))
            getattr(block, name).register_forward_hook(lambda module, args, out, drop=drop: drop(out))
        return len(branches) == len(masks)
    places = [(m, "stochastic_depth") for m in model.body.modules() if getattr(m, "use_res_connect", False) and
              hasattr(m, "stochastic_depth") and m.stochastic_depth is not None]
    places += [(model.body.classifier, str(i)) for i, m in enumerate(model.body.classifier) if isinstance(m, nn.Dropout)]
    images = [m for _, by_image, m in masks if by_image]
    elements = [m for _, by_image, m in masks if not by_image]
    for parent, name in places:
        kind = images if name == "stochastic_depth" else elements
        if kind:
            mask = kind.pop(0)
            setattr(parent, name, Masked(torch.from_numpy((mask[:, 0, :1] if name == "stochastic_depth" else mask[:, 0]).copy())))
    return not images and not elements


def torch_step(case, dtype, masks):
    weights, views, d = situation(replace(case, dropout=0.0, drop_path=0.0))
    model = case.reference(weights, dtype)
    whole = put_masks(model, masks)
    outputs = model(normalised(views, dtype))
    torch.autograd.backward(outputs, [torch.from_numpy(given).to(dtype) for given in d if given is not None])
    return whole, {"outputs": {n: o.detach().double().numpy() for n, o in zip(OUTPUTS, outputs)},
                   "gradients": model.named("gradients")}


def our_pass(case, backend, mode=TRAIN, step=STEP, stream=2, row=0):
    """(pass after its forward, feature, head, gradients)."""
    weights, views, d = situation(replace(case, dropout=0.0, drop_path=0.0))
    net = case.net(backend)
    params, buffers = net.load(weights)
    p, grads = Pass(net, case.batch, True), net.zeros()
    lib.nn_masks(p.handle, SEED, step, stream, row)
    feature, head = p.forward(params, buffers, views, mode)
    if mode == TRAIN:
        p.backward(params, d, grads)
    return p, feature, head, net.export(grads)


def test_parity(case):
    theirs = None
    for backend in BACKENDS:
        p, feature, head, grads = our_pass(case, backend)
        if theirs is None:
            masks = p.masks(case.batch)
            (whole, double), (_, single) = (torch_step(case, d, masks) for d in (torch.float64, torch.float32))
            check(f"{case}: torchvision has a place for every mask", whole and masks, f"{len(masks)} masks")
            theirs = True
        for kind, ours in (("outputs", {"feature": feature, "head": head}), ("gradients", grads)):
            times, error, by, name = judge(kind, ours, single[kind], double[kind])[0]
            check(f"{case} {backend}, dropping: {kind}", times <= 1, f"{name}: {error:.1e}, PyTorch's f32 {by:.1e}")


def test_probabilities():
    """torchvision's own defaults: stochastic depth grows over the blocks."""
    net = Net("efficientnet_b0", False, "none", 0, (32, 32), dropout=0.2, drop_path=0.2)
    ours = [(round(p, 6), by_image) for p, by_image, _ in Pass(net, 1, False).masks(1)]
    model = torchvision.models.efficientnet_b0(weights=None)
    theirs = [(round(m.stochastic_depth.p, 6), True) for m in model.modules() if getattr(m, "use_res_connect", False)]
    theirs.append((model.classifier[0].p, False))
    check("EfficientNet-B0 drops where and how often torchvision does", ours == theirs, f"{ours} {theirs}")


def test_masks():
    case = Case("efficientnet_b0", True, 32, batch=64, dropout=0.3, drop_path=0.6)
    p = Pass(case.net("blas"), case.batch, False)

    def draw(step=0, stream=0, row=0, seed=SEED):
        lib.nn_masks(p.handle, seed, step, stream, row)
        return p.masks(case.batch)

    first = draw()
    for at, (probability, by_image, _) in enumerate(first):
        all_ = np.stack([draw(step=s)[at][2] for s in range(8)])
        kept, draws = (all_ > 0).mean(), 8 * case.batch if by_image else all_.size
        near = abs(kept - (1 - probability)) < 4.5 * (probability * (1 - probability) / draws) ** 0.5
        scale = np.allclose(all_[all_ > 0], 1 / (1 - probability))
        check(f"mask {at} keeps {1 - probability:.3f}, and keeps the mean", near and scale, f"kept {kept:.3f} of {draws}")
    check("masks of images are one number each", all((m == m[:, :1, :1]).all() for _, by_image, m in first if by_image))
    for label, other in (("step", draw(step=1)), ("stream", draw(stream=1)), ("seed", draw(seed=6))):
        check(f"another {label} draws other masks", all((a[2] != b[2]).any() for a, b in zip(first, other)))
    later = draw(row=10)
    check("a row's mask follows from its place in the whole batch",
          all((a[2][10:] == b[2][:-10]).all() for a, b in zip(first, later)))
    elements = first[-1][2].reshape(case.batch, -1) > 0
    apart = np.corrcoef(elements)[np.triu_indices(case.batch, 1)]
    check("rows draw apart", np.abs(apart).max() < 5 / elements.shape[1] ** 0.5, f"{np.abs(apart).max():.2f}")


def test_modes(case):
    plain = replace(case, dropout=0.0, drop_path=0.0)
    for mode, label in ((KEY, "the key encoder drops"), (EVAL, "evaluation does not drop")):
        ours, theirs = our_pass(case, "blas", mode)[1], our_pass(plain, "blas", mode)[1]
        check(label, (relative(ours, theirs) > 0.01) == (mode == KEY), f"{relative(ours, theirs):.1e} apart")
    found = []
    for threads in (1, 2, 3):
        lib.threads_set(threads)
        found.append(our_pass(case, "blas")[1])
    lib.threads_set(2)
    check("any number of threads drops the same", all(relative(f, found[0]) < 1e-5 for f in found), "they differ")


def test_encoders():
    """Both encoders of a trainer drop, by masks of their own; without, the key is at first what the query is."""
    draw, found = np.random.default_rng(3), {}
    views = draw.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    for p in (0.0, 0.2):
        t = Trainer("mobilenet_v3_small", True, "linear", 16, (32, 32), 6, 1, "sgd", dropout=p)
        lib.trainer_begin(t.handle, 0)
        lib.trainer_query(t.handle, 0, 0, ptr(views), 6)
        found["query", p] = floats(lib.trainer_output(t.handle, 0, 0, HEAD), (6, 16)).copy()
        lib.trainer_move_key(t.handle)
        found["key", p] = floats(lib.trainer_key(t.handle, 0, 0, ptr(views), 6), (6, 16)).copy()
    same = relative(found["key", 0.0], found["query", 0.0])
    check("without dropout the key is what the query is", same < 1e-5, f"{same:.1e} apart")
    for label, a, b in (("the query drops", ("query", 0.2), ("query", 0.0)), ("the key drops", ("key", 0.2), ("key", 0.0)),
                        ("each by its own masks", ("key", 0.2), ("query", 0.2))):
        check(f"MobileNetV3: {label}", relative(found[a], found[b]) > 0.01, f"{relative(found[a], found[b]):.1e} apart")


def test_refusals():
    for arch, change, word in (("resnet18", dict(dropout=0.1), "no dropout"),
                               ("resnet18", dict(drop_path=0.1), "no stochastic depth"),
                               ("mobilenet_v2", dict(drop_path=0.1), "no stochastic depth"),
                               ("deit_tiny", dict(dropout=0.1), "no dropout"),
                               ("mobilenet_v2", dict(dropout=1.0), "below 1")):
        refused(word, arch=arch, **change)


def main():
    lib.threads_set(2)
    test_probabilities()
    test_masks()
    test_encoders()
    test_refusals()
    case = Case("efficientnet_b0", True, 32, batch=5, dropout=0.3, drop_path=0.6)
    test_modes(case)
    for c in (case, replace(case, arch="mobilenet_v3_small", drop_path=0.0), replace(case, arch="mobilenet_v2", drop_path=0.0),
              replace(case, arch="deit_tiny", dropout=0.0), replace(case, arch="vit_tiny_ssl", size=16, drop_path=0.0)):
        test_parity(c)
    return done()


if __name__ == "__main__":
    sys.exit(main())
