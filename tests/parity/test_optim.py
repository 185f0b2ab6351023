"""test_optim - optimisers, clipping, schedules and the moving average against torch in float64: 20 steps, relative 1e-6

Every optimiser of the table, with every combination of its parameters below, with and without clipping, under every schedule.
"""
import ctypes
import itertools
import math
import os
import sys

import numpy as np

from net_ct import OPTIMISERS, SCHEDULES, Optimiser, lib, ptr
from sprat_ct import aligned, check, done, relative

import torch

F32 = 3  # of enum dtype
STEPS, TOLERANCE, CLIP = 20, 1e-6, 600.0
SHAPES = ((37,), (29, 57), (64, 32, 6, 6))  # more than one slice of the vector, none of them a round number
CUTS = np.cumsum([0] + [int(np.prod(s)) for s in SHAPES])
COUNT = int(CUTS[-1])
torch.set_num_threads(1)
ctypes.CDLL(None).mallopt(-4, 0), ctypes.CDLL(None).mallopt(-1, 1 << 30)  # memory is kept: M_MMAP_MAX, M_TRIM_THRESHOLD


def parts(flat):
    return [flat[a:b].reshape(s) for a, b, s in zip(CUTS, CUTS[1:], SHAPES)]


def start():
    """Weights, and gradients whose norm is below and above CLIP by turns."""
    draw = np.random.default_rng(5)
    w, grads = aligned(COUNT), [aligned(COUNT) for _ in range(STEPS)]
    w[:] = draw.normal(0, 1, COUNT)
    for step, g in enumerate(grads):
        g[:] = draw.normal(0, 1 + step % 4, COUNT)
    return w, grads, [[torch.tensor(p, dtype=torch.float64) for p in parts(g)] for g in grads]


WEIGHTS, GRADS, GRADS_TORCH = start()


# --- the references: torch's own, and LARS from its equations ---

class Lars(torch.optim.Optimizer):
    """You, Gitman, Ginsburg 2017, Algorithm 1, with MoCo v3's norm, that of the decayed gradient, and lr outside of the
    momentum."""

    def __init__(self, groups, momentum, nesterov, trust):
        super().__init__(groups, dict(lr=1, adapt=True, momentum=momentum, nesterov=nesterov, trust=trust))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for w in group["params"]:
                d = w.grad + group["weight_decay"] * w
                if group["adapt"] and w.norm() > 0 and d.norm() > 0:
                    d = d * group["trust"] * w.norm() / d.norm()
                v = self.state[w]["v"] = group["momentum"] * self.state[w].get("v", torch.zeros_like(w)) + d
                w -= group["lr"] * (d + group["momentum"] * v if group["nesterov"] else v)


def groups(tensors, wd, nodecay):
    """Two groups of parameters; those of rank 1 are norms and biases."""
    spared = [t for t in tensors if t.ndim == 1 and nodecay]
    others = [t for t in tensors if not (t.ndim == 1 and nodecay)]
    return [{"params": others, "weight_decay": wd}] + ([{"params": spared, "weight_decay": 0, "adapt": False}] if spared else [])


def sgd_torch(groups, momentum, nesterov):
    return torch.optim.SGD(groups, 1, momentum, nesterov=bool(nesterov))


def adamw_torch(groups, beta1, beta2, eps):
    return torch.optim.AdamW(groups, 1, (beta1, beta2), eps)


# Every row of the table of optimisers: combinations of its parameters, its counterpart, and its state by the names of ours.
DECAY = dict(wd=(0, 0.01), nodecay=(0, 1))
MOMENTUM = dict(DECAY, momentum=(0, 0.9), nesterov=(0, 1))
REFERENCES = {
    "sgd": (MOMENTUM, sgd_torch, {"momentum": "momentum_buffer"}),
    "lars": (dict(MOMENTUM, trust=(0.001, 0.02)), Lars, {"momentum": "v"}),
    "adamw": (dict(DECAY, beta1=(0.9, 0.5), beta2=(0.999, 0.95), eps=(1e-8, 1e-3)), adamw_torch,
              {"exp_avg": "exp_avg", "exp_avg_sq": "exp_avg_sq"}),
}


def spell(name, values):
    return f"{name}:" + ",".join(f"{k}={v}" for k, v in values.items())


def run_torch(name, values, clip, rates):
    tensors = [torch.tensor(p, dtype=torch.float64, requires_grad=True) for p in parts(WEIGHTS)]
    rest = {k: v for k, v in values.items() if k not in DECAY}
    optim = REFERENCES[name][1](groups(tensors, values["wd"], values["nodecay"]), **rest)
    for grads, rate in zip(GRADS_TORCH, rates):
        for t, g in zip(tensors, grads):
            t.grad = g.clone() if clip else g  # clipping works in place
        if clip:
            torch.nn.utils.clip_grad_norm_(tensors, clip)
        for group in optim.param_groups:
            group["lr"] = rate
        optim.step()
    state = {ours: [optim.state[t].get(theirs) for t in tensors] for ours, theirs in REFERENCES[name][2].items()}
    return [t.detach().numpy() for t in tensors], {n: [v.numpy() for v in s] for n, s in state.items() if s[0] is not None}


def run_ours(name, values, clip, rates):
    w, optim = WEIGHTS.copy(), Optimiser(spell(name, values), SHAPES, clip)
    for step, (g, rate) in enumerate(zip(GRADS, rates)):
        optim.step(rate, step, w, g)
    return w, {n: v.copy() for n, v in optim.slots.items()}


def distance(name, values, clip, ours, theirs):
    """The largest relative error of a tensor of the weights or of the state."""
    w, state = run_ours(name, values, clip, ours)
    w_torch, state_torch = run_torch(name, values, clip, theirs)
    pairs = list(zip(parts(w), w_torch)) + [p for n in state_torch for p in zip(parts(state[n]), state_torch[n])]
    return max(relative(a, b) for a, b in pairs)


def combinations(grid):
    for values in (dict(zip(grid, c)) for c in itertools.product(*grid.values())):
        if not (values.get("nesterov") and not values.get("momentum")):  # torch has no such thing
            yield values


def test_optimisers():
    schedules = {s: (rates_ours(s, 2, 10), rates_truth(s, 2, 10)) for s in RUNS}
    for name in OPTIMISERS:
        if not check(f"{name} has a reference here", name in REFERENCES, "add one"):
            continue
        for values in combinations(REFERENCES[name][0]):
            worst = max((distance(name, values, clip, *rates), f"clip {clip}, {s}")
                        for clip in (0, CLIP) for s, rates in schedules.items())
            check(f"{spell(name, values)}: {STEPS} steps as torch's, clipped or not, {len(RUNS)} schedules", worst[0] < TOLERANCE,
                  f"relative error {worst[0]:.1e} with {worst[1]}")


def test_instruction_sets():
    """One combination of each on every set of loops that this machine has."""
    rates = [0.1 / (1 + step) for step in range(STEPS)]
    for isa in ("base", "avx2", "avx512", "avx512bf16"):
        if lib.isa_choose(isa.encode()) < 0:
            continue
        for name, (grid, _, _) in REFERENCES.items():
            error = distance(name, {k: v[-1] for k, v in grid.items()}, CLIP, rates, rates)
            check(f"{name} with the loops for {isa}", error < TOLERANCE, f"relative error {error:.1e}")
    lib.isa_init()


def test_rules():
    norms, truth = [], [float(torch.cat([t.flatten() for t in g]).norm()) for g in GRADS_TORCH]
    w, optim = WEIGHTS.copy(), Optimiser("sgd", SHAPES)
    norms = [optim.step(0, step, w, g) for step, g in enumerate(GRADS)]
    check("the norm of the gradient comes back", relative(norms, truth) < 1e-12 and min(truth) < CLIP < max(truth),
          f"{norms[:2]}")
    for bad in (math.inf, -math.inf, math.nan):
        before, state, g = w.copy(), optim.slots["momentum"].copy(), GRADS[0].copy()
        g[COUNT - 1] = bad
        norm = optim.step(1, 0, w, g)
        still = (w == before).all() and (optim.slots["momentum"] == state).all()
        check(f"nothing moves when a gradient is {bad}", not math.isfinite(norm) and still, f"{norm}")
    for spelling, batch, lr in (("sgd:lr=0.03,per=256", 512, 0.06), ("lars:lr=0.3,per=256", 64, 0.075),
                                ("adamw:lr=0.01", 512, 0.01)):
        ours = lib.shim_optim_rate(spelling.encode(), batch)
        check(f"{spelling} at {batch} images a batch", abs(ours - lr) < 1e-12, f"{ours}")
    for name in REFERENCES:
        results = [lib.threads_set(n) and run_ours(name, {"nodecay": 1}, CLIP, [0.1] * STEPS) for n in (1, 2, 3)]
        same = all((a == b).all() for w, s in results[1:]
                   for a, b in zip((w, *s.values()), (results[0][0], *results[0][1].values())))
        check(f"{name}: the same bytes on 1, 2 and 3 threads", same, "they differ")


# --- schedules: torch's schedulers, stepped once an epoch or once a step ---

BASE = 0.3
MAKERS = {
    "cosine": lambda optim, unit, epochs: torch.optim.lr_scheduler.CosineAnnealingLR(optim, epochs * unit),
    "step": lambda optim, unit, epochs: torch.optim.lr_scheduler.MultiStepLR(optim, [6 * unit, 9 * unit], 0.2),
    "constant": lambda optim, unit, epochs: torch.optim.lr_scheduler.LambdaLR(optim, lambda step: 1),
}
KEYS = {"step": ("at=6+9,factor=0.2",)}
RUNS = ("constant", "step:at=6+9,factor=0.2", "cosine:warmup=3,by=step")


def rates_truth(spelling, per_epoch, epochs):
    name, _, keys = spelling.partition(":")
    values = dict(k.split("=") for k in keys.split(",") if k)
    unit, warmup, steps = (per_epoch if values.get("by") == "step" else 1), float(values.get("warmup", 0)), per_epoch * epochs
    after = int(warmup) if values.get("after") == "1" else 0  # the scheduler's epochs begin behind the warm-up
    optim = torch.optim.SGD([torch.zeros(1)], BASE)
    scheduler, rates = MAKERS[name](optim, unit, epochs - after), [BASE] * (after * per_epoch)
    for step in range(steps - len(rates)):
        rates.append(optim.param_groups[0]["lr"])
        optim.step()
        if unit > 1 or (step + 1) % per_epoch == 0:
            scheduler.step()
    length = warmup * per_epoch  # the rate climbs by equal steps, from base / length to the base rate
    return [min(1, (i + 1) / length) * BASE if i < length else rate for i, rate in enumerate(rates)]


def rates_ours(spelling, per_epoch, epochs):
    return [lib.shim_rate(spelling.encode(), BASE, s, per_epoch, epochs) for s in range(per_epoch * epochs)]


def test_schedule(spelling):
    theirs, ours = rates_truth(spelling, 7, 12), rates_ours(spelling, 7, 12)
    worst = np.abs(np.subtract(ours, theirs)).max() / BASE
    check(f"{spelling}: the rates of torch's scheduler", worst < TOLERANCE, f"{worst:.1e} of the base rate apart")


def test_schedules():
    for name in SCHEDULES:
        if not check(f"{name} has a reference here", name in MAKERS, "add one"):
            continue
        for by, warmup in itertools.product(("epoch", "step"), (0, 1, 3, 2.5)):
            test_schedule(f"{name}:" + ",".join([*KEYS.get(name, ()), f"by={by}", f"warmup={warmup}"]))
    for by in ("epoch", "step"):
        test_schedule(f"cosine:after=1,warmup=3,by={by}")
    climb = torch.optim.SGD([torch.zeros(1)], BASE)
    scheduler, rates = torch.optim.lr_scheduler.LinearLR(climb, 1 / 21, total_iters=20), []
    for _ in range(7 * 12):
        rates.append(climb.param_groups[0]["lr"])
        climb.step(), scheduler.step()
    worst = np.abs(np.subtract(rates_ours("constant:warmup=3", 7, 12), rates)).max() / BASE
    check("warm-up is torch's LinearLR from 1/n", worst < TOLERANCE, f"{worst:.1e} of the base rate apart")


def test_average():
    draw = np.random.default_rng(6)
    n = 200003
    for m in (0.999, 0.9, 0.0):
        key, truth = aligned(n), np.zeros(n)
        key[:] = truth[:] = draw.normal(0, 1, n).astype(np.float32)
        for _ in range(STEPS):
            query = draw.normal(0, 1, n).astype(np.float32)
            lib.ema_update(n, m, ptr(query), ptr(key))
            truth = m * truth + (1 - m) * query
        check(f"ema {m}: {STEPS} updates", relative(key, truth) < TOLERANCE, f"relative error {relative(key, truth):.1e}")
    before = key.copy()
    query = query + 1  # a temporary would be gone when it is read
    lib.ema_update(n, 1.0, ptr(query), ptr(key))
    check("ema 1: nothing moves", (key == before).all(), "it moved")


test_optimisers()
test_instruction_sets()
test_rules()
test_schedules()
test_average()
sys.exit(done())
