"""test_optim - optimisers, schedules and the moving average against torch.optim in float64: 20 steps, relative 1e-6"""
import itertools
import sys

import numpy as np

from net_ct import OPTIMISERS, SCHEDULES, lib, ptr
from sprat_ct import aligned, check, done, relative, why

import torch

STEPS, TOLERANCE = 20, 1e-6
SHAPES = ((37,), (129, 257), (64, 32, 6, 6))  # more than one slice of the vector, none of them a round number
CUTS = np.cumsum([0] + [int(np.prod(s)) for s in SHAPES])


def parts(flat):
    return [flat[a:b].reshape(s) for a, b, s in zip(CUTS, CUTS[1:], SHAPES)]


# Every row of the table of optimisers: its parameters' combinations, and torch's counterpart with its state by our slots' order.
def sgd_torch(tensors, momentum, wd, nesterov):
    return torch.optim.SGD(tensors, 1, momentum, weight_decay=wd, nesterov=nesterov)


REFERENCES = {"sgd": (dict(momentum=(0, 0.9), wd=(0, 0.01), nesterov=(0, 1)), sgd_torch, ("momentum_buffer",))}


def test_combination(name, values, make, state):
    draw = np.random.default_rng(5)
    w, slots = aligned(CUTS[-1]), aligned(CUTS[-1] * max(1, len(state)))
    w[:] = draw.normal(0, 1, CUTS[-1])
    tensors = [torch.tensor(p, dtype=torch.float64) for p in parts(w)]
    optim = make(tensors, **values)
    spelling = f"{name}:" + ",".join(f"{k}={v}" for k, v in values.items())
    for step in range(STEPS):
        g, lr = draw.normal(0, 1, CUTS[-1]).astype(np.float32), 0.1 / (1 + step)
        if lib.shim_optim_step(spelling.encode(), lr, step, CUTS[-1], ptr(w), ptr(g), ptr(slots)) < 0:
            return check(spelling, False, why())
        for t, p in zip(tensors, parts(g)):
            t.grad = torch.tensor(p, dtype=torch.float64)
        optim.param_groups[0]["lr"] = lr
        optim.step()
    worst = max(relative(p, t.numpy()) for p, t in zip(parts(w), tensors))
    for i, key in enumerate(state):
        theirs = [optim.state[t].get(key) for t in tensors]
        ours = parts(slots[i * CUTS[-1]:(i + 1) * CUTS[-1]])
        worst = max([worst] + [relative(p, t.numpy()) for p, t in zip(ours, theirs) if t is not None])
    return check(f"{spelling}: {STEPS} steps as torch.optim", worst < TOLERANCE, f"relative error {worst:.1e}")


def test_optimisers():
    for name in OPTIMISERS:
        if not check(f"{name} has a reference here", name in REFERENCES, "add one"):
            continue
        grid, make, state = REFERENCES[name]
        for combination in itertools.product(*grid.values()):
            values = dict(zip(grid, combination))
            if not (values.get("nesterov") and not values.get("momentum")):  # torch has no such thing
                test_combination(name, values, make, state)


# --- schedules: torch's schedulers, stepped once an epoch or once a step ---

PER_EPOCH, EPOCHS, BASE = 7, 12, 0.3


def rates_torch(make, per_step):
    """make(optimizer, unit) with unit = scheduler steps an epoch."""
    optim = torch.optim.SGD([torch.zeros(1)], BASE)
    scheduler, rates = make(optim, PER_EPOCH if per_step else 1), []
    for step in range(PER_EPOCH * EPOCHS):
        rates.append(optim.param_groups[0]["lr"])
        optim.step()
        if per_step or (step + 1) % PER_EPOCH == 0:
            scheduler.step()
    return np.array(rates)


def cosine(optim, unit):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optim, EPOCHS * unit)


def drops(optim, unit):
    return torch.optim.lr_scheduler.MultiStepLR(optim, [6 * unit, 9 * unit], 0.2)


def constant(optim, unit):
    return torch.optim.lr_scheduler.LambdaLR(optim, lambda step: 1)


MAKERS = {"cosine": ("", cosine), "step": ("at=6+9,factor=0.2", drops), "constant": ("", constant)}


def rates_ours(spelling):
    return np.array([lib.shim_rate(spelling.encode(), BASE, s, PER_EPOCH, EPOCHS) for s in range(PER_EPOCH * EPOCHS)])


def test_schedules():
    for name in SCHEDULES:
        if not check(f"{name} has a reference here", name in MAKERS, "add one"):
            continue
        keys, make = MAKERS[name]
        for by, warmup in itertools.product(("epoch", "step"), (0, 1, 3, 2.5)):
            spelling = f"{name}:" + ",".join([k for k in (keys, f"by={by}", f"warmup={warmup}") if k])
            theirs, ours = rates_torch(make, by == "step"), rates_ours(spelling)
            length = warmup * PER_EPOCH  # the rate climbs by equal steps, from base / length to the base rate
            climb = np.minimum(1, (np.arange(np.ceil(length)) + 1) / length) * BASE if length else np.zeros(0)
            theirs[:len(climb)] = climb
            worst = np.abs(ours - theirs).max() / BASE
            check(f"{spelling}: the rates of torch's scheduler", worst < TOLERANCE, f"{worst:.1e} of the base rate apart")
    linear = torch.optim.lr_scheduler.LinearLR
    climb = rates_torch(lambda optim, unit: linear(optim, 1 / 21, total_iters=20), True)
    worst = np.abs(rates_ours("constant:warmup=3") - climb).max() / BASE
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
    lib.ema_update(n, 1.0, ptr(query + 1), ptr(key))
    check("ema 1: nothing moves", (key == before).all(), "it moved")


test_optimisers()
test_schedules()
test_average()
sys.exit(done())
