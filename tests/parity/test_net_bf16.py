"""test_net_bf16 - whole networks in bf16 against torchvision in float64: at most 1.5 times the error of PyTorch's own autocast

Errors of bf16 are random: the same network in another order of sums has tensors with half or twice the error. So what is compared
are relative L2 errors over several draws of weights and pictures, in two ways, and nothing may fail:

- over a kind (outputs, gradients, BN statistics, everything after five MoCo steps, outputs in evaluation mode) the root mean
  square over its tensors, each of which counts alike, is at most 1.5 times PyTorch's;
- of every tensor the error is at most 1.5 times PyTorch's for that tensor, or PyTorch's root mean square where that is larger. A
  norm over few numbers scatters: for n numbers 1 + 3/sqrt(n) times that.

Both start from the same f32 weights. PyTorch's is torch.autocast("cpu", torch.bfloat16), forward inside, backward outside.
FULL=1 runs every size; else one an architecture.
"""
import sys
from dataclasses import replace

import numpy as np

import test_net as f32
from net_case import Case
from net_ct import ARCHS, lib
from sprat_ct import check, done, relative
from test_net import (BACKENDS, F64, FULL, LARGE, evaluate, moco_case, moco_loss, moco_ours, moco_recipe, moco_torch, our_step,
                      torch_step)

import torch

BF16 = torch.bfloat16
FACTOR, SCATTER = 1.5, 3
DRAWS = 3 if FULL else 1
ALL = "all of them"


# --- comparing ---

def errors(found, double):
    """{tensor: relative error}; what is zero in exact arithmetic is measured by the largest of its kind."""
    largest = max(np.linalg.norm(r) for r in double.values())
    return {n: relative(found[n], r, largest if np.linalg.norm(r) < f32.ZERO * largest else 0) for n, r in double.items()}


def mean_square(errors):
    return float(np.sqrt(np.mean(np.square(list(errors.values())))))


def judge(ours, theirs, double):
    """Rows (times the allowed error, ours, PyTorch's, tensor), worst first."""
    if set(ours) != set(double):
        return [(float("inf"), float("inf"), 0.0, f"names {sorted(set(ours) ^ set(double))[:3]}")]
    ours, theirs = errors(ours, double), errors(theirs, double)
    all_ours, all_theirs = mean_square(ours), mean_square(theirs)
    rows = [(all_ours / (FACTOR * all_theirs), all_ours, all_theirs, ALL)]
    for n in ours:
        allowed = FACTOR * (1 + SCATTER / double[n].size ** 0.5) * max(theirs[n], all_theirs)
        rows.append((ours[n] / allowed, ours[n], theirs[n], n))
    return sorted(rows, reverse=True)


table = []


def compare(case, backend, ours, theirs, double):
    for kind in (k for k in double if double[k]):
        rows = judge(ours[kind], theirs[kind], double[kind])
        times, error, torchs, name = rows[0]
        whole = next((r for r in rows if r[3] == ALL), rows[0])
        table.append((str(case), backend, kind, whole[1], whole[2], times, name))
        check(f"{case} {backend}: {kind}", times <= 1, f"{name}: {error:.2e}, PyTorch's {torchs:.2e}; "
              f"{sum(r[0] > 1 for r in rows)} of {len(rows)} too far")


def print_table():
    print(f"\n{'network':<62} {'backend':<7} {'kind':<14} {'ours':>8} {'torch':>8} {'ratio':>6}  worst, of what is allowed")
    for label, backend, kind, ours, theirs, times, name in table:
        print(f"{label:<62} {backend:<7} {kind:<14} {ours:8.1e} {theirs:8.1e} {ours / theirs:6.2f}  {times:.2f} {name}")


def stacked(case, step):
    """What step gives for each draw, side by side."""
    draws = [step(replace(case, draw=i)) for i in range(DRAWS)]
    return {kind: {n: np.stack([d[kind][n] for d in draws]) for n in draws[0][kind]} for kind in draws[0]}


# --- forward and backward, five steps of MoCo, evaluation ---

def references(case, change=lambda model: None):
    return stacked(case, lambda c: torch_step(c, BF16, change)), stacked(case, lambda c: torch_step(c, F64))


def test_step(case):
    theirs, double = references(case)
    for backend in BACKENDS:
        compare(case, backend, stacked(case, lambda c: our_step(c, backend)), theirs, double)


def test_moco(case):
    queue, recipe = moco_loss(case).queue, moco_recipe(case)
    theirs, double = moco_torch(case, BF16, queue, recipe), moco_torch(case, F64, queue, recipe)
    for backend in BACKENDS:
        ours, trained = moco_ours(case, backend)
        compare(case, backend, ours, theirs, double)
        compare(case, backend, *evaluate(case, *trained, BF16))


# --- the comparison must be able to fail: PyTorch's autocast as ours, spoilt ---

NORM, PRODUCTS = torch.nn.BatchNorm2d, (torch.nn.Conv2d, torch.nn.Linear)


def modules(model, kind):
    return [m for m in model.modules() if isinstance(m, kind)]


def coarse(x):
    """Three bits of the significand less, by Veltkamp's splitting."""
    x = x.detach().bfloat16()
    c = 9 * x
    return c - (c - x)


def coarse_values(model):
    """As if the outputs of products were stored in 13 bits."""
    for m in modules(model, PRODUCTS):
        m.register_forward_hook(lambda module, args, out: out + (coarse(out) - out).detach())


def coarse_gradients(model):
    """As if their gradients were."""
    for m in modules(model, PRODUCTS):
        m.register_forward_hook(lambda module, args, out: out.register_hook(coarse) and None)


def narrow_norm(model):
    """Means and variances of the batch summed in bf16."""
    def after(module, args, out, old):
        x = args[0].detach().transpose(0, 1).flatten(1).bfloat16()
        mean = sum(x.unbind(1)) / x.shape[1]
        var = sum((x - mean[:, None]).square().unbind(1)) / x.shape[1]
        for running, before, now in zip((module.running_mean, module.running_var), old, (mean, var)):
            running.data.copy_(before + module.momentum * (now - before))

    for m in modules(model, NORM):
        old = m.running_mean.clone(), m.running_var.clone()
        m.register_forward_hook(lambda module, args, out, old=old: after(module, args, out, old))


def other_epsilon(model):
    for m in modules(model, NORM):
        m.eps = 1e-2


def narrow_weights(model):
    """Master weights in bf16."""
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.bfloat16())


SPOILT = (("values of 13 bits", coarse_values, "outputs"), ("statistics summed in bf16", narrow_norm, "statistics"),
          ("another epsilon", other_epsilon, "outputs"), ("another epsilon", other_epsilon, "gradients"))
# Behind batch norm most of a gradient's error comes from the values; here its own shows.
SPOILT_TRANSFORMER = (("values of 13 bits", coarse_values, "outputs"), ("gradients of 13 bits", coarse_gradients, "gradients"))


def notices(label, kind, spoilt, theirs, double):
    worst = judge(spoilt[kind], theirs[kind], double[kind])[0]
    check(f"the comparison notices {label} in {kind}", worst[0] > 1, f"{worst[0]:.2f} of what is allowed, {worst[3]}")


def test_comparison(case, spoilt):
    theirs, double = references(case)
    for label, change, kind in spoilt:
        notices(label, kind, stacked(case, lambda c: torch_step(c, BF16, change)), theirs, double)
    last = next(reversed(theirs["gradients"]))
    for label, value in (("one gradient missing", None), ("one NaN", np.nan)):
        broken = dict(theirs["gradients"])
        broken.pop(last)
        if value is not None:
            broken[last] = theirs["gradients"][last] * value
        notices(label, "gradients", {"gradients": broken}, theirs, double)


def test_moco_comparison(case):
    queue, recipe = moco_loss(case).queue, moco_recipe(case)
    theirs, double = moco_torch(case, BF16, queue, recipe), moco_torch(case, F64, queue, recipe)
    notices("master weights in bf16", "after 5 steps", moco_torch(case, BF16, queue, recipe, narrow_weights), theirs, double)


# --- all of it ---

ONE_SIZE = dict(f32.ONE_SIZE, resnet18=(False, 48), resnet34=(False, 48), resnet50=(False, 48))


def test_sizes(arch):
    for small, size in f32.PATCHED.get(arch, f32.ALL_SIZES) if FULL else (ONE_SIZE[arch],):
        test_step(Case(arch, small, size, "simple", splits=2, shuffled=True, batch=6, precision="bf16"))


def test_five_steps(arch):
    """A short run has one network with batch norm and one without."""
    if FULL and arch not in LARGE or arch in ("mobilenet_v3_small", "deit_tiny"):
        test_moco(moco_case(Case(arch, *((True, 32) if FULL else ONE_SIZE[arch]), precision="bf16")))


def main():
    lib.threads_set(2)
    tiny = Case("mobilenet_v3_small", True, 32, batch=8, precision="bf16")
    test_comparison(tiny, SPOILT)
    test_comparison(Case("deit_tiny", True, 16, batch=4, precision="bf16"), SPOILT_TRANSFORMER)
    test_moco_comparison(replace(tiny, splits=4))
    for arch in ARCHS:
        test_sizes(arch)
        test_five_steps(arch)
    print_table()
    return done()


if __name__ == "__main__":
    sys.exit(main())
