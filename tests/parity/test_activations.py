"""test_activations - activations made of exponentials and rounding to bf16, number by number against PyTorch and scipy, on every
instruction set that this machine has (SPRAT_ISA)"""
import ctypes as C
import sys

import numpy as np
from scipy import special

from isa_sets import choose, sets
from ops_cases import GELU, SIGMOID, SILU
from sprat_ct import aligned, check, done, lib, ptr

import torch
import torch.nn.functional as F

ACTS = {SILU: F.silu, SIGMOID: torch.sigmoid, GELU: F.gelu}


def test_smooth(isa, act, steep):
    """Activations made of exponentials, in ulps of float32, and at the ends. steep: where the slope has zeros, hence no ulps."""
    z = aligned(1 << 18)
    z[:] = np.linspace(-87, 87, z.size)
    z[-6:] = -0.0, -1e4, 1e4, -np.inf if act == SIGMOID else -1e25, np.inf, np.nan
    value, slope = aligned(z.shape), aligned(z.shape)
    lib.nn_act(act, C.c_int64(z.size), ptr(z), ptr(value), ptr(slope))
    even = -np.abs(z)       # a sigmoid's slope is even; there PyTorch is exact
    x = torch.from_numpy(z if steep else even).double().requires_grad_()
    ACTS[act](x).sum().backward()
    exact = ACTS[act](torch.from_numpy(z).double()).numpy()
    for what, got, want in (("value", value, exact), ("slope", slope, x.grad.numpy())):
        size = np.maximum(np.abs(want), 0.1 if what == "slope" and steep else 1.2e-38)
        ulps = np.abs(got[:-6] - want[:-6]) / size[:-6] * 2**23
        check(f"{isa}: {what} of activation {act} over [-87, 87]", ulps.max() < 4, f"{ulps.max():.1f} ulps at {z[ulps.argmax()]}")
    nan = np.isnan(value[-1]) and np.isnan(slope[-1])
    good = np.allclose(value[-6:-1], exact[-6:-1]) and nan and np.isfinite(slope[-6:-2]).all()
    check(f"{isa}: the ends of activation {act}", good, f"{z[-6:]}: {value[-6:]} {slope[-6:]}")


def test_gelu(isa):
    """No further from the truth than PyTorch's float32 anywhere near, and small values keep their digits, which PyTorch's
    lose."""
    z = aligned(1 << 18)
    z[:] = np.linspace(-20, 20, z.size)
    z[-5:] = -0.0, -1e4, 1e4, np.inf, np.nan
    value, slope = aligned(z.shape), aligned(z.shape)
    lib.nn_act(GELU, C.c_int64(z.size), ptr(z), ptr(value), ptr(slope))
    exact, single = ([], [])
    for found, dtype in ((exact, torch.float64), (single, torch.float32)):
        x = torch.from_numpy(z).to(dtype).requires_grad_()
        y = F.gelu(x)
        y.sum().backward()
        found += [y.detach().numpy(), x.grad.numpy()]
    for what, ours, want, theirs in zip(("value", "slope"), (value, slope), exact, single):
        ours, theirs = (np.abs(a[:-5] - want[:-5]) / np.maximum(1, np.abs(want[:-5])) for a in (ours, theirs))
        check(f"{isa}: {what} of gelu", ours.max() <= theirs.max(), f"{ours.max():.1e} away, PyTorch's {theirs.max():.1e}")
    tail = (z > -8) & (z < -0.01)
    away = np.abs(value[tail] / (z[tail].astype(np.float64) * special.ndtr(z[tail].astype(np.float64))) - 1).max()
    check(f"{isa}: the tail of gelu", away < 5e-6, f"{away:.1e} of its size away")
    good = np.allclose(value[-5:-1], (0, 0, 1e4, np.inf), rtol=0, atol=1e-37) and np.isnan(value[-1]) and np.isnan(slope[-1])
    check(f"{isa}: the ends of gelu", good, f"{value[-5:]} {slope[-5:]}")


def test_rounded(isa, act):
    """Activations made of exponentials, stored in bf16: of every number up to 1e4, within six tenths of the last digit of the
    truth, where rounding alone takes five. A slope that is nearly zero is held to the digits of 0.1; so are values to those of
    1e-31."""
    bits = np.arange(1 << 16, dtype=np.uint32)
    bits = bits[np.abs((bits << 16).view(np.float32)) < 1e4].astype(np.uint16)
    bits = np.resize(bits, -(-bits.size // 16) * 16)
    z, value, slope = (aligned(bits.size, np.uint16) for _ in range(3))
    z[:] = bits
    lib.nn_act_bf16(act, C.c_int64(z.size), ptr(z), ptr(value), ptr(slope))
    z, value, slope = ((a.astype(np.uint32) << 16).view(np.float32).astype(np.float64) for a in (z, value, slope))
    x = torch.from_numpy(z).requires_grad_()
    y = ACTS[act](x)
    y.sum().backward()
    exact = z * special.ndtr(z) if act == GELU else y.detach().numpy()   # 1 + erf() has no digits left for the tail
    for what, got, want in (("value", value, exact), ("slope", slope, x.grad.numpy())):
        steps = np.abs(got - want) / np.exp2(np.floor(np.log2(np.maximum(np.abs(want), 0.1 if what == "slope" else 1e-31))) - 7)
        check(f"{isa}: {what} of activation {act} in bf16", steps.max() < 0.6, f"{steps.max():.2f} steps at {z[steps.argmax()]}")


def test_narrow(isa):
    """Rounding to bf16 is PyTorch's, on random, halfway, huge, tiny and infinite numbers, of any count. What is not a number
    stays one. AVX512-BF16's instruction takes denormals for zeros of their sign."""
    rng = np.random.default_rng(3)
    bits = np.concatenate([rng.integers(0, 2**32, 1 << 16, np.uint64).astype(np.uint32),
                           (rng.integers(0, 2**16, 1 << 12).astype(np.uint32) << 16) + 0x8000,     # halfway, to even and to odd
                           np.uint32([0, 1 << 31, 1, 0x7fff, 0x8000, 0x7f7f7fff, 0x7f7f8000, 0x7f7fffff, 0xff7fffff, 0x7f800000,
                                      0xff800000, 0x7fc00000, 0x7f810000, 0x00800000, 0x007fffff, 0x807fffff])])
    x = aligned(bits.size)
    x[:] = bits.view(np.float32)
    want = torch.from_numpy(x).bfloat16().view(torch.int16).numpy().view(np.uint16)
    for count in (x.size, 37, 1):
        start, got = x.size - count, np.zeros(count, np.uint16)
        lib.nn_narrow(C.c_int64(count), ptr(x[start:]), ptr(got))
        expected, sign = want[start:], got & 0x8000
        nan = np.isnan(x[start:])
        denormal = (np.abs(x[start:]) < 1.1754944e-38) & (isa in ("avx512bf16", "amx"))
        good = np.where(nan, (got & 0x7fff) > 0x7f80, (got == expected) | denormal & (got == sign) & (sign == expected & 0x8000))
        wrong = x[start:][~good]
        check(f"{isa}: {count} numbers rounded to bf16", not wrong.size, f"{wrong.size} are not, {wrong[:3]} among them")


torch.set_num_threads(1)
for isa in sets("activations"):
    choose(isa)
    for act in (SILU, SIGMOID):
        test_smooth(isa, act, act == SILU)
    for act in (SILU, SIGMOID, GELU):
        test_rounded(isa, act)
    test_gelu(isa)
    test_narrow(isa)
sys.exit(done())
