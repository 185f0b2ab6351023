"""test_byol - five steps of BYOL by the trainer that encode trains with, judged as test_trainer judges MoCo's

Each of two views predicts the other's key, 2 - 2 cos being the loss; the key encoder's momentum rises from step to step, and its
running statistics are its own or averaged as its parameters are.
"""
import sys
from dataclasses import replace

import net_steps as steps
from moco_steps import byol_case, moco_steps, moco_torch, moco_truth, recipe_of
from net_case import Case
from net_ct import lib
from net_steps import F32, print_table
from sprat_ct import done
from test_trainer import judge, test_comparison, test_f32

SPOILT = ("ema", "0.9", "after 5 steps"), ("ema_buffers", True, "after 5 steps")


def test_sides(case):
    """That the comparison notices predictions of one's own key."""
    way, double = moco_truth(case)
    own = moco_steps(replace(case, sides=((0, 0), (1, 1))), F32, way, recipe_of(case))
    steps.notices(judge, "predictions of one's own key", "momentum", own, moco_torch(case, F32), double)


def main():
    lib.threads_set(2)
    case = Case("mobilenet_v3_small", True, 20)
    whole, averaged = byol_case(case, 1, False), byol_case(case, 3, True)
    test_comparison(whole, SPOILT)
    test_sides(whole)
    for each in (whole, averaged):
        test_f32(each)
    print_table()
    return done()


if __name__ == "__main__":
    sys.exit(main())
