"""test_trainer - five steps of MoCo by the trainer that encode trains with, against torchvision's networks and torch.optim in
float64

Compared are everything that a run keeps after five steps in parts (both networks, running statistics, queue, losses), the
optimiser's state, how far the weights have come, and outputs in evaluation mode. In f32 every tensor's relative L2 error is at
most the larger of 1e-3 (outputs 1e-4) and twice the error of PyTorch's own float32, which must be far below a percent: else it
would say nothing. In bf16 the yardstick is PyTorch's autocast (judges.judge_bf16). BYOL: test_byol.

FULL=1 takes every network; else one of each family of which a step is cheap.
"""
import functools
import sys
from dataclasses import replace

import numpy as np

import net_steps as steps
import test_net_bf16 as rounded
from judges import judge_f32
from moco_steps import BOTH, CROPS, moco_case, moco_ours, moco_torch, moco_truth, recipe_of
from net_case import Case
from net_ct import ARCHS, lib
from net_steps import BACKENDS, BF16, F32, FULL, evaluate, print_table
from sprat_ct import check, done

BOUNDS = {"after 5 steps": 1e-3, "momentum": 1e-3, "movement": 1e-3, "eval": 1e-4}


def judge(kind, ours, single, double):
    return judge_f32(BOUNDS[kind], ours, single, double)


compare = functools.partial(steps.compare, judge)


def eval_of(case, trainer, precision):
    return evaluate(case, trainer.net, trainer.params, trainer.buffers, precision)


def same_bytes(one, other):
    return all(np.array_equal(one[kind][n], other[kind][n]) for kind in one for n in one[kind])


def test_f32(case):
    double, single = moco_truth(case)[1], moco_torch(case, F32)
    verdicts = steps.judged(judge, single, single, double)
    error, name = max((away, f"{kind}, {tensor}") for kind, rows in verdicts.items() for _, _, away, tensor in rows)
    check(f"{case}: nothing may be half a percent away after five steps", 2 * error < 5e-3,
          f"PyTorch's f32 is {error:.1e} away: {name}")
    for backend in BACKENDS:
        ours, trainer = moco_ours(case, backend)
        compare(case, backend, ours, single, double)
        compare(case, backend, *eval_of(case, trainer, F32))
    streamed, _ = moco_ours(case, BACKENDS[-1], stream=True)
    check(f"{case}: kept or streamed, the same bytes", same_bytes(ours, streamed), "they differ")


def test_bf16(case):
    double, theirs = moco_truth(case)[1], moco_torch(case, BF16)
    for backend in BACKENDS:
        ours, trainer = moco_ours(case, backend)
        rounded.compare(case, backend, ours, theirs, double)
        rounded.compare(case, backend, *eval_of(case, trainer, BF16))


# --- the comparison must be able to fail ---

SPOILT = (("lr", 0.101, "movement"), ("momentum", 0.895, "momentum"), ("wd", 2.9e-5, "momentum"), ("ema", "0.8", "after 5 steps"),
          ("t", 1.1, "after 5 steps"), ("schedule", False, "movement"), ("cells", False, "after 5 steps"),
          ("ema_first", False, "after 5 steps"), ("mean", False, "after 5 steps"))


def test_comparison(case, spoilt=SPOILT):
    double, single = moco_truth(case)[1], moco_torch(case, F32)
    for key, value, kind in spoilt:
        steps.notices(judge, f"{key}={value} in place of {recipe_of(case)[key]}", kind, moco_torch(case, F32, **{key: value}),
                      single, double)


def resize_bilinearly(model):
    model.body.interpolation = "bilinear"


def test_comparison_sizes(case):
    double, single = moco_truth(case)[1], moco_torch(case, F32)
    spoilt = moco_torch(case, F32, spoil=resize_bilinearly)
    steps.notices(judge, "positions resized bilinearly", "momentum", spoilt, single, double)


def test_comparison_bf16(case):
    double, theirs = moco_truth(case)[1], moco_torch(case, BF16)
    for kind in ("after 5 steps", "movement"):
        spoilt = moco_torch(case, BF16, spoil=rounded.narrow_weights)
        steps.notices(rounded.judge, "master weights in bf16", kind, spoilt, theirs, double)


def main():
    lib.threads_set(2)
    small = Case("mobilenet_v3_small", True, 32)
    test_comparison(moco_case(small))
    for parts in (1, 4):
        test_f32(moco_case(small, parts))
    test_f32(moco_case(small, sides=BOTH))
    normed_head = moco_case(Case(small.arch, True, 32, head="48,bn,relu,32"))
    test_f32(replace(normed_head, batch=32))    # of few rows its variances say nothing
    for arch in ARCHS:      # families of which a step is cheap: test_net judges a step of all; mobilenet_v3_small was above
        if FULL or arch in ("shufflenet_v2_x1_0", "deit_tiny"):
            test_f32(moco_case(Case(arch, *((True, 32) if FULL else steps.sizes(arch)[0]))))
    two_sizes = moco_case(Case("deit_tiny", True, 16, crop=12), sides=CROPS)
    test_comparison_sizes(two_sizes)
    for case in (two_sizes, moco_case(replace(small, crop=20), sides=CROPS)):
        test_f32(case)
    test_comparison_bf16(moco_case(Case(small.arch, True, 32, precision="bf16")))
    for arch in ARCHS if FULL else ("mobilenet_v3_small", "deit_tiny"):     # one with batch norm and one without
        test_bf16(moco_case(Case(arch, *((True, 32) if FULL else steps.sizes(arch)[0]), precision="bf16")))
    print_table()
    return done()


if __name__ == "__main__":
    sys.exit(main())
