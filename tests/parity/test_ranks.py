"""test_ranks - trainers that share a run as ranks: two, each with half of the rows, against one with two parts

After three steps of a loss over the whole batch all that a run keeps agrees but for the order of sums: every tensor to 1e-5 of
its norm (or a thousandth of the largest of its kind; some are zero but for rounding), the momentum, which is gradients, to 1e-4;
both ranks hold the same bytes. Keys of a rank are normalised among its own rows, not in cells; so is the lone trainer made to
group them where there is batch norm. The networks have no kinks, across which rounding would part the ways.
"""
import functools
import sys
from dataclasses import dataclass

import numpy as np

from net_case import DIM, Case, pictures, starting_weights
from net_ct import lib
from sprat_ct import check, done, relative
from trainer_ct import Ranks, Trainer, query_parts

import torch

RANKS, STEPS, SIDES = 2, 3, ((0, 1), (1, 0))
BOUNDS = {"parameters": 1e-5, "statistics": 1e-5, "key parameters": 1e-5, "key statistics": 1e-5, "momentum": 1e-4}
VECTORS = dict(zip(BOUNDS, (0, 1, 3, 4, 5)))


@dataclass(frozen=True)
class Run:
    case: Case
    optim: str = "sgd:lr=0.1,momentum=0.9,wd=3e-5,per=24"
    cells: bool = False     # of keys, as a lone trainer has them


def gradients(q, k):
    """Of cross entropy between all queries and all keys (Chen et al. 2021, Algorithm 1), in float64."""
    q = [torch.from_numpy(a).double().requires_grad_() for a in q]
    unit, loss = functools.partial(torch.nn.functional.normalize, dim=1), 0
    for a, b in zip(q, k):
        logits = unit(a) @ unit(torch.from_numpy(b).double()).T / 0.5
        loss = loss + torch.nn.functional.cross_entropy(logits, torch.arange(len(a)))
    return [d.float().numpy() for d in torch.autograd.grad(loss, q)]


@functools.lru_cache(maxsize=1)
def start(run):
    """(weights, views of each step)."""
    draw = np.random.default_rng(12)
    weights = starting_weights(run.case, draw)
    return weights, [[pictures(draw, run.case) for _ in range(2)] for _ in range(STEPS)]


def trainer(run, batch, parts):
    lib.threads_set(1)
    c = run.case
    t = Trainer(c.arch, c.small, c.head, DIM, c.extent, batch, parts, run.optim, "cosine:by=step", "0.9..1", 0.5, steps=STEPS,
                dropout=c.dropout, drop_path=c.drop_path)
    t.load(start(run)[0])
    return t


def kept(t):
    return {kind: t.vector(i).copy() for kind, i in VECTORS.items()}


def lone(run):
    """(the trainer, what it keeps)."""
    t = trainer(run, run.case.batch, RANKS)
    for step, views in enumerate(start(run)[1]):
        t.step(step, SIDES, views, gradients, None if run.cells else query_parts(run.case.batch, RANKS))
    return t, kept(t)


def ranked(run, deaf=None):
    """[what each keeps]."""
    ranks, rows = Ranks(RANKS, deaf), query_parts(run.case.batch, RANKS)

    def rank(i):
        def of_these(q, k):
            all_q, all_k = ([np.concatenate(side) for side in zip(*ranks.gather(i, mine))] for mine in (q, k))
            return [d[rows[i]] for d in gradients(all_q, all_k)]

        t = trainer(run, len(rows[i]), 1)
        t.join(ranks, i, rows[i][0], run.case.batch)
        for step, views in enumerate(start(run)[1]):
            t.step(step, SIDES, [v[rows[i]] for v in views], of_these)
        return kept(t)

    return ranks.run(rank)


def apart(net, ours, theirs):
    """{kind: (error, tensor) of the worst}."""
    worst = {}
    for kind in BOUNDS:
        a, b = (net.export(None, x[kind]) if "statistics" in kind else net.export(x[kind]) for x in (ours, theirs))
        floor = 1e-3 * max((np.linalg.norm(x) for x in b.values()), default=0)
        worst[kind] = max(((relative(a[n], b[n], floor), n) for n in b), default=(0, "none"))
    return worst


def same(ranks, kind):
    return ranks[0][kind].tobytes() == ranks[1][kind].tobytes()


def test_run(run):
    alone, truth = lone(run)
    ranks = ranked(run)
    for kind, (error, name) in apart(alone.net, ranks[0], truth).items():
        print(f"{run.case} {kind}: {error:.1e} {name}")
        check(f"{run.case}: {RANKS} ranks train as {RANKS} parts do: {kind}", error < BOUNDS[kind], f"{error:.1e} apart: {name}")
        check(f"{run.case}: all ranks hold the same bytes: {kind}", same(ranks, kind))
    for label, count, kind in (("gradients", truth["parameters"].size, "momentum"),
                               ("statistics", truth["statistics"].size, "statistics")):
        if count:
            spoilt = ranked(run, count)
            error, name = apart(alone.net, spoilt[0], truth)[kind]
            seen = error > BOUNDS[kind] and not same(spoilt, kind)
            check(f"{run.case}: the comparison notices {label} that are not summed", seen, f"{error:.1e} apart: {name}")


def main():
    test_run(Run(Case("efficientnet_b0", True, 20, batch=12, dropout=0.2, drop_path=0.2)))
    test_run(Run(Case("deit_tiny", True, 16, batch=6), "adamw:lr=1e-3,wd=0.05", cells=True))
    return done()


if __name__ == "__main__":
    sys.exit(main())
