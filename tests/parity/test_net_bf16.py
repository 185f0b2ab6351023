"""test_net_bf16 - whole networks in bf16 against torchvision in float64: at most 1.5 times the error of PyTorch's own autocast

Compared are, over several draws of weights and pictures, outputs, gradients, BN statistics, and what a backward pass rounds, by
judges.judge_bf16.

Most of a gradient's error comes from the values of the forward pass, and would hide what the backward pass adds. But a backward
pass is linear in what it is given: of a gradient d = a + b, what d gives less what a and b give is rounding of the backward
passes alone, the forward pass being the same. That is the kind "backward rounding".

Both start from the same f32 weights. PyTorch's is torch.autocast("cpu", torch.bfloat16), forward inside, backward outside, with
products that round alike on every processor (products.py).
FULL=1 runs every size; else one an architecture.
"""
import sys
from dataclasses import replace

import numpy as np

import net_steps as steps
from judges import judge_bf16
from net_case import Case, situation
from net_ct import ARCHS, SHORT, lib
from net_steps import BACKENDS, BF16, F64, FULL, our_step, print_table, torch_forward, torch_step
from net_torch import PartsBN
from sprat_ct import check, done, relative

import torch

DRAWS, MORE = (3, 8) if FULL else (1, 8)
ROUNDING = "backward rounding"


# --- comparing ---

def judge(kind, ours, theirs, double):
    return judge_bf16(ours, theirs, double)


def judge_draws(kind, ours, theirs, double):
    return judge_bf16(ours, theirs, double, draws=True)


def report(case, backend, verdicts):
    for kind, rows in verdicts.items():
        error = steps.of_all(rows)[2]
        check(f"{case}: PyTorch's {kind} are near enough to say something", error < 0.4, f"{error:.1e} away")
    steps.report(case, backend, verdicts)


def compare(case, backend, ours, theirs, double):
    report(case, backend, steps.judged(judge, ours, theirs, double))


def stacked(case, step, count=DRAWS):
    """What step gives for each draw, side by side."""
    draws = [step(replace(case, draw=i)) for i in range(count)]
    return {kind: {n: np.stack([d[kind][n] for d in draws]) for n in draws[0][kind]} for kind in draws[0]}


# --- what a backward pass rounds ---

def shares(case):
    """What the outputs' gradients are split into: a of d = a + b, for each output."""
    draw = np.random.default_rng(9)
    return [None if d is None else (d * draw.uniform(0, 1, d.shape)).astype(np.float32) for d in situation(case)[2]]


def torch_rounding(case, change=lambda model: None):
    model, found, d = torch_forward(case, BF16, change)
    part = [torch.from_numpy(a) for a in shares(case) if a is not None]
    names = {n.replace("body.", "", 1): p for n, p in model.named_parameters()}
    sums = [torch.autograd.grad(found, list(names.values()), given, retain_graph=True)
            for given in (d, part, [x - a for x, a in zip(d, part)])]
    return {n: (w - a - b).double().numpy() for n, w, a, b in zip(names, *sums)}


def our_rounding(case, backend):
    weights, views, d = situation(case)
    net, part = case.net(backend), shares(case)
    rest = [None if x is None else x - a for x, a in zip(d, part)]
    params, buffers = net.load(weights)
    w, a, b = (net.export(net.step(params, buffers, views, given)["grads"]) for given in (d, part, rest))
    return {n: w[n].astype(np.float64) - a[n] - b[n] for n in w}


def with_rounding(step, rounding, gradients):
    """A step's results and, as an error of the true gradients, what the backward pass rounds."""
    return dict(step, **{ROUNDING: {n: gradients[n] + r for n, r in rounding.items()}})


# --- forward and backward ---

def truth(case):
    double = torch_step(case, F64)
    return with_rounding(double, {n: 0 for n in double["gradients"]}, double["gradients"])


def references(case, change=lambda model: None, count=DRAWS):
    """(PyTorch's autocast, float64) of each draw."""
    double = [truth(replace(case, draw=i)) for i in range(count)]
    gradients = {i: d["gradients"] for i, d in enumerate(double)}

    def autocasts(c):
        return with_rounding(torch_step(c, BF16, change), torch_rounding(c, change), gradients[c.draw])

    return stacked(case, autocasts, count), stacked(case, lambda c: double[c.draw], count)


def our_draws(case, backend, double, count):
    return stacked(case, lambda c: with_rounding(our_step(c, backend), our_rounding(c, backend),
                                                 {n: g[c.draw] for n, g in double["gradients"].items()}), count)


def test_step(case):
    """A few draws may acquit; where they do not, more draws together decide."""
    for count in (DRAWS, MORE):
        theirs, double = references(case, count=count)
        verdicts = {b: steps.judged(judge_draws, our_draws(case, b, double, count), theirs, double) for b in BACKENDS}
        if all(rows[0][0] <= 1 for kinds in verdicts.values() for rows in kinds.values()):
            break
    for backend in BACKENDS:
        report(case, backend, verdicts[backend])


# --- the comparison must be able to fail: PyTorch's autocast as ours, spoilt ---

NORM, PRODUCTS = PartsBN, (torch.nn.Conv2d, torch.nn.Linear)


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


SPOILT = ((coarse_values, "values of 13 bits", "outputs"), (coarse_gradients, "gradients of 13 bits", ROUNDING),
          (narrow_norm, "statistics summed in bf16", "statistics"), (other_epsilon, "another epsilon", "outputs"),
          (other_epsilon, "another epsilon", "gradients"))
SPOILT_TRANSFORMER = SPOILT[:2]


def test_comparison(case, spoilt):
    theirs, double = references(case)
    for change in dict.fromkeys(change for change, _, _ in spoilt):
        broken = references(case, change)[0]
        for label, kind in ((label, kind) for c, label, kind in spoilt if c is change):
            steps.notices(judge_draws, label, kind, broken, theirs, double)
    steps.notices_broken(judge_draws, "gradients", theirs, double)


# --- all of it ---

def test_arch(arch):
    for small, size in steps.sizes(arch):
        test_step(Case(arch, small, size, "simple", batch=6, precision="bf16"))


def main():
    lib.threads_set(2)
    tiny = Case("mobilenet_v3_small", True, 32, batch=8, precision="bf16")
    test_comparison(tiny, SPOILT)
    test_comparison(Case("deit_tiny", True, 16, batch=4, precision="bf16"), SPOILT_TRANSFORMER)
    for arch in ARCHS if FULL else SHORT:
        test_arch(arch)
    test_step(replace(tiny, head="48,bn,relu,32", predictor="40,bn,relu,32"))
    print_table()
    return done()


if __name__ == "__main__":
    sys.exit(main())
