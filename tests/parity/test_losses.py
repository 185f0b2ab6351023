"""test_losses - every loss of the table against its transcription in PyTorch float64 (losses_torch.py), over three steps with
what it remembers: value, gradients of all that is trained, state; finite differences; a run taken apart and put together again,
and one on another number of threads, ends in the same bytes"""
import re
import sys

import numpy as np

from loss_ct import Objective, inputs, lib, made
from losses_torch import TRANSCRIPTIONS
from sprat_ct import check, done, relative, why

import torch

BOUND = 1e-5   # relative, of values and of every gradient and tensor of state

# Spelling, rows, dim, widths of inputs that are none of dim. Sizes are odd where the loss lets them be.
CASES = [
    ("moco:t=0.2,k=74", 37, 20, {}),
    ("moco:t=0.07,k=102,sym=1", 17, 33, {}),
    ("moco:k=74,smooth=0.3,nn=9", 37, 20, {}), ("moco:k=102,sym=1,smooth=0.2,nn=10,by=k,plan=thirds", 17, 33, {}),
    ("moco:k=74,plan=halving,by=k", 37, 20, {}), ("moco:k=74,plan=all,smooth=0.5", 37, 20, {}),
    ("simclr", 37, 21, {}), ("simclr:t=0.07", 300, 19, {}), ("simclr", 1, 3, {}),
    ("supcon", 37, 21, {}), ("supcon:t=0.3", 275, 7, {}),
    ("simsiam", 37, 21, {}), ("simsiam", 1, 3, {}),
    ("byol", 37, 21, {}), ("byol", 130, 5, {}),
    ("ce", 37, 7, {}), ("ce:smooth=0.1", 9, 11, {}),
    ("seed:k=74", 37, 20, {}), ("seed:k=51,t=0.1,tt=0.0001", 17, 9, {}), ("seed:k=34,kp=51,patches=3", 17, 12, {}),
    ("compress:k=74", 37, 20, {}), ("compress:k=51,banks=2", 17, 9, {"tfeature": 21}),
    ("simreg", 37, 21, {}), ("simreg:view=1", 5, 8, {}),
    ("disco:k=74", 37, 20, {}), ("disco:only=1,w=2", 17, 9, {}),
    ("bingo:k=74", 37, 20, {}), ("bingo:k=34,warm=0,t=0.1", 17, 9, {}), ("bingo:k=34,mix=0,warm=0", 17, 9, {}),
    ("barlow", 37, 20, {}), ("barlow:lambda=0.3", 130, 9, {}),
    ("directpred", 37, 20, {}), ("directpred:every=2,eps_of=s,rho=.9", 37, 11, {}),
    ("crd:k=74,project=16", 37, 20, {"t": 31}), ("crd:k=34,project=0,t=0.2", 17, 9, {}),
    ("kd", 37, 7, {}), ("kd:T=2,a=0.3", 9, 11, {}),
    ("rkd", 37, 20, {"t": 31}), ("rkd:ce=1,distance=2,angle=3", 13, 7, {}), ("rkd", 1, 3, {}),
    ("directpred:eps_of=s,eps=0.5", 37, 11, {}),
    ("simdis", 37, 20, {}), ("simdis:kinds=7v", 17, 9, {}), ("simdis:kinds=tsv+sdv,online=1", 5, 8, {"tp": 11, "tk": 11}),
]
STEPS, CLASSES = 3, 5


def parameters(spelling):
    words = spelling.partition(":")[2]
    return {k: float(v) if re.fullmatch(r"[\d.]+", v) else v for k, v in (w.split("=") for w in words.split(",") if w)}


def torch_state(o):
    """What the library remembers, in float64: tensors (rows, dim), or a number."""
    state = o.state()
    return {n: int(np.frombuffer(b, np.int64)[0]) if n.endswith(("pointer", "steps")) else torch.from_numpy(
        np.frombuffer(b, np.float32).astype(np.float64).reshape(-1, o.state_width(n))) for n, b in state.items()}


def torch_inputs(o, values):
    trained = o.gradients().keys()
    return {n: torch.from_numpy(v.astype(np.int64) if n == "label" else v.astype(np.float64)).requires_grad_(n in trained)
            for n, v in zip(o.needs, values)}


def test_parity(spelling, rows, dim, widths):
    o, name = made(spelling, rows, dim, widths=widths), spelling.partition(":")[0]
    rng, p, s = np.random.default_rng(rows * dim), parameters(spelling), torch_state(o)
    worst = {}

    def judge(what, error):
        worst[what] = max(worst.get(what, 0), error)

    for step in range(STEPS):
        values = inputs(rng, o, classes=min(CLASSES, dim))
        if o.step(values, step) < 0:
            raise RuntimeError(why())
        x = torch_inputs(o, values)
        loss, s = TRANSCRIPTIONS[name](x, p, s)
        if loss.requires_grad:
            loss.backward()
        judge("value", abs(o["loss"] - loss.item()) / max(1, abs(loss.item())))
        for n, g in o.gradients().items():
            theirs = x[n].grad.numpy() if x[n].grad is not None else np.zeros_like(g)
            judge(f"d:{n}", relative(g, theirs) if theirs.any() else float(np.abs(g).max()))
        for n, ours in torch_state(o).items():
            judge(n, abs(ours - s[n]) if isinstance(ours, int) else relative(ours.numpy(), s[n].numpy()))
    title = f"{spelling}, {rows} rows of {dim}"
    for what, error in worst.items():
        check(f"{title}: {what} within {BOUND:g} of PyTorch in float64 over {STEPS} steps", error < BOUND, f"off by {error:.2e}")
    return worst


def test_differences(spelling, _, dim, widths):
    """Central differences of the value along random directions, from the same state each time. What a step sets of what it
    sees (a predictor, a scale) has no gradient, and stays where it is for the next one; nor has a key of one's own."""
    kept = "every=2" in spelling or spelling.startswith("crd")
    measured = "student" if spelling.startswith("crd") else "loss"
    if spelling.startswith("directpred") and not kept:
        return
    rows, eps, rng, spelling = 4, 2e-2, np.random.default_rng(7), re.sub(r"\b(kp?)=\d+", r"\1=40", spelling)
    o = made(spelling, rows, dim, widths=widths)
    x = inputs(rng, o, classes=min(CLASSES, dim))
    for _ in range(1 + kept):
        o.step(x)
    for name, gradient in o.gradients().items():
        at, worst = o.needs.index(name), 0
        if not gradient.any():
            continue     # of what the loss reads and does not train, a difference says nothing
        for _ in range(4):
            way = rng.standard_normal(gradient.shape).astype(np.float32)
            way *= eps / np.linalg.norm(way)
            value = []
            for sign in (1, -1, 2, -2):
                moved = made(spelling, rows, dim, widths=widths)
                if kept:
                    moved.step(x)
                moved.step([v + sign * way if j == at else v for j, v in enumerate(x)])
                value.append(moved[measured])
            slope = (8 * (value[0] - value[1]) - (value[2] - value[3])) / 12
            worst = max(worst, abs(slope - float((gradient * way).sum())) / (np.linalg.norm(gradient) * eps))
        check(f"{spelling}: d:{name} agrees with differences", worst < 2e-3, f"off by {worst:.2e}")


def test_state(spelling, rows, dim, widths):
    rng = np.random.default_rng(11)
    whole, lone = made(spelling, rows, dim, widths=widths), made(spelling, rows, dim, threads=1, widths=widths)
    half = None
    for step in range(9):
        x = inputs(rng, whole, classes=min(CLASSES, dim))
        if step == 5:
            half = made(spelling, rows, dim, seed=99, widths=widths)
            check(f"{spelling}: a state is taken back", lib.shim_objective_copy_state(half.handle, whole.handle) == 0, why())
        for o in (whole, lone, half):
            if o and o.step(x, step) < 0:
                raise RuntimeError(why())
    check(f"{spelling}: a run resumed from its state ends in the same bytes", half.bytes() == whole.bytes())
    check(f"{spelling}: the number of threads changes nothing", lone.bytes() == whole.bytes())
    check(f"{spelling}: every tensor of state is called loss.", all(n.startswith("loss.") for n in whole.state()))
    expected = lib.shim_objective_expected(whole.handle)
    check(f"{spelling}: says what a network that knows nothing comes to", np.isfinite(expected), expected)


def test_able_to_fail():
    """A transcription that is off by a hundredth is noticed."""
    case = ("moco:t=0.2,k=74", 37, 20, {})
    right = TRANSCRIPTIONS["moco"]
    seen = []
    TRANSCRIPTIONS["moco"] = lambda x, p, s: right(x, {**p, "t": p["t"] * 1.01}, s)
    o, rng = made(*case[:3]), np.random.default_rng(1)
    values, s = inputs(rng, o), torch_state(o)
    o.step(values)
    loss, _ = TRANSCRIPTIONS["moco"](torch_inputs(o, values), {"t": 0.2}, s)
    seen.append(abs(o["loss"] - loss.item()) / loss.item())
    TRANSCRIPTIONS["moco"] = right
    check("a temperature that is off by a hundredth is noticed", seen[0] > 10 * BOUND, seen)


def test_ce():
    o = made("ce", 6, 4)
    q = np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32)
    o.step([q, np.full(6, -1, np.int32)])
    check("no label at all: value 0, gradient 0", o["loss"] == 0 and not o.gradient(0).any(), f"{o['loss']}")
    check("a label beyond the head's width is refused, which names the width", o.step([q, np.full(6, 9, np.int32)]) < 0
          and "--dim 10" in why(), why())


def test_equal_rows():
    """Rows that fell together: distances of 0 have no gradient, and no angle."""
    rng = np.random.default_rng(1)
    for title, equal in (("of the student", ((1, 4), ())), ("of the teacher", ((), (0, 3))), ("of both", ((1, 4), (1, 4))),
                         ("of a student that collapsed", (range(6), ())), ("of everybody", (range(6), range(6)))):
        q, t = (rng.standard_normal((6, 4)).astype(np.float32) for _ in range(2))
        for rows, which in zip((q, t), equal):
            rows[list(which)] = 1
        o, x = made("rkd", 6, 4), torch.from_numpy(q.astype(np.float64)).requires_grad_()
        o.step([q, t])
        loss, _ = TRANSCRIPTIONS["rkd"]({"q0": x, "t0": torch.from_numpy(t.astype(np.float64))}, {}, {})
        loss.backward()
        theirs = x.grad.numpy()
        off = relative(o.gradient(0), theirs) if theirs.any() else np.abs(o.gradient(0)).max()
        check(f"rkd with equal rows {title} is as PyTorch's", abs(o["loss"] - loss.item()) <= BOUND * loss.item() and off < BOUND,
              f"{o['loss']} for {loss.item()}, {off:.2e}")


def test_kd():
    rng, none = np.random.default_rng(3), np.full(6, -1, np.int32)
    q, t = (rng.standard_normal((6, 4)).astype(np.float32) for _ in range(2))
    lone, labels = made("kd:a=1", 6, 4), made("kd:a=0", 6, 4)
    lone.step([q, t, none])
    labels.step([q, t, none])
    check("kd without a label or a share of the teacher: value 0, gradient 0", labels["loss"] == 0
          and not labels.gradient(0).any(), labels["loss"])
    check("kd of the teacher alone needs no label", lone["loss"] > 0 and lone.gradient(0).any(), lone["loss"])


def test_crd():
    """At the least temperature, against a queue of the rows themselves, nothing overflows."""
    x = np.eye(8, 20, dtype=np.float32)
    o = made("crd:k=16,project=0,t=0.02", 8, 20)
    answers = [o.step([x, x], step) for step in range(3)]
    check("crd of rows that are in the queue is finite at its least temperature", answers == [0] * 3
          and np.isfinite(o.gradient(0)).all(), why())


if __name__ == "__main__":
    names = {lib.shim_objective_name(i).decode() for i in range(lib.shim_objective_count())}
    check("every loss has its transcription and a case", names == set(TRANSCRIPTIONS) == {c[0].partition(":")[0] for c in CASES},
          names)
    for c in CASES:
        test_parity(*c)
        test_differences(*c)
        test_state(*c)
    test_able_to_fail()
    test_ce()
    test_equal_rows()
    test_kd()
    test_crd()
    sys.exit(done())
