"""test_positions - position embeddings of one grid of patches resized to another, and the gradient on the way back, against
F.interpolate and its autograd in float64

Errors are at most the larger of 1e-6, a few roundings, and twice PyTorch's own in float32. In networks: test_trainer.
"""
import sys

import numpy as np

from judges import judge_f32
from net_ct import lib, ptr
from sprat_ct import aligned, check, done

import torch

GRIDS = (((14, 14), (6, 6)), ((14, 14), (24, 24)), ((4, 4), (3, 3)), ((3, 5), (4, 4)), ((5, 3), (7, 2)), ((7, 7), (7, 5)),
         ((1, 1), (2, 3)), ((5, 3), (1, 1)), ((2, 9), (9, 1)), ((3, 3), (3, 3)))
WIDTH = 20


def rows(grid):
    return 1 + grid[0] * grid[1]


def torch_resize(x, d, old, new, dtype, **how):
    """{"resized", "gradient"}: of the embedding x, and what d is to it."""
    x = torch.from_numpy(x).to(dtype).requires_grad_()
    picture = x[1:].reshape(1, *old, WIDTH).permute(0, 3, 1, 2)
    how = dict(dict(mode="bicubic", align_corners=False), **how)
    picture = torch.nn.functional.interpolate(picture, size=new, **how)
    y = torch.cat([x[:1], picture.permute(0, 2, 3, 1).reshape(-1, WIDTH)])
    y.backward(torch.from_numpy(d).to(dtype))
    return {"resized": y.detach().numpy(), "gradient": x.grad.numpy()}


def our_resize(x, d, old, new):
    """The gradient is added to what is there: ones, here."""
    y, gradient = aligned(d.shape), aligned(x.shape)
    gradient[:] = 1
    lib.positions_resize(ptr(x), *old, ptr(y), *new, WIDTH)
    lib.positions_resize_back(ptr(gradient), *old, ptr(d), *new, WIDTH)
    return {"resized": y, "gradient": gradient - 1}


def main():
    draw = np.random.default_rng(6)
    for old, new in GRIDS:
        x, d = (draw.normal(0, 1, (rows(grid), WIDTH)).astype(np.float32) for grid in (old, new))
        double, single = (torch_resize(x, d, old, new, dtype) for dtype in (torch.float64, torch.float32))
        for times, error, theirs, name in judge_f32(1e-6, our_resize(x, d, old, new), single, double):
            check(f"{old[0]}x{old[1]} patches as {new[0]}x{new[1]}: {name}", times <= 1, f"{error:.1e}, PyTorch's {theirs:.1e}")
        if new in ((6, 6), (24, 24)):
            for how in (dict(align_corners=True), dict(mode="bilinear")) + ((dict(antialias=True),) if new < old else ()):
                for times, _, _, name in judge_f32(1e-6, torch_resize(x, d, old, new, torch.float32, **how), single, double):
                    check(f"the comparison notices {how} in {name} at {new[0]}x{new[1]}", times > 1)
    return done()


if __name__ == "__main__":
    sys.exit(main())
