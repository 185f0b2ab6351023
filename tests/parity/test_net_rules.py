"""test_net_rules - what networks keep without a reference: bytes that repeat, on any number of threads; gradients that add up;
initial weights as torchvision draws them; refusals"""
import sys

import numpy as np

from net_case import Case, refused, situation
from net_ct import ARCHS, SHORT, KEY, TRAIN, Net, Pass, lib
from net_steps import FULL
from sprat_ct import BACKENDS, aligned, check, done, relative

# What another number of threads may change: sums in another order. In bf16 a number then rounds the other way now and then, and
# that grows through the layers as all its rounding does: to less than PyTorch's autocast is away from the truth (test_net_bf16).
APART = {"f32": 1e-5, "bf16": 0.1}


def test_symmetric(case):
    """Two passes are forward before either goes backward; gradients add up, and each hands out the statistics of its own rows."""
    weights, views, d = situation(case)
    other = views[::-1].copy()
    for backend in BACKENDS:
        net = case.net(backend)
        params, buffers = net.load(weights)
        apart = net.step(params, buffers, views, d)["grads"] + net.step(params, buffers, other, d)["grads"]
        _, twice = net.load(weights)
        passes, grads = (Pass(net, case.batch, True), Pass(net, case.batch, True)), net.zeros()
        for p, v in zip(passes, (views, other)):
            p.forward(params, twice, v, TRAIN)
        for p in passes:
            p.backward(params, d, grads)
        error = relative(grads, apart)
        check(f"{case} {backend}: two passes at once add up", error < 1e-6, f"{error:.1e} apart")
        check(f"{case} {backend}: the statistics are those of the last rows", (twice == buffers).all(), "they differ")


def test_bytes(case):
    """Same arguments, same bytes: another pass, more room, a misaligned view. Key mode computes what train mode does."""
    weights, views, d = situation(case)
    for backend in BACKENDS:
        net = case.net(backend)
        params, buffers = net.load(weights)
        first = net.step(params, buffers, views, d)
        _, again_buffers = net.load(weights)
        odd = aligned(views.size + 1, np.uint8)[1:].reshape(views.shape)
        odd[:] = views
        again = net.step(params, again_buffers, odd, d, room=case.batch + 5)
        same = all((first[k] == again[k]).all() for k in ("feature", "head", "grads")) and (buffers == again_buffers).all()
        check(f"{case} {backend}: repeated, the bytes are the same", same, "they differ")
        _, key_buffers = net.load(weights)
        feature, head = Pass(net, case.batch, False).forward(params, key_buffers, views, KEY)
        apart = max(relative(feature, first["feature"]), relative(head, first["head"]), relative(key_buffers, buffers))
        check(f"{case} {backend}: the key encoder computes the same", apart < 1e-5, f"{apart:.1e} apart")


def test_threads(case):
    """Any number of threads, more than rows among them, computes the same; each number always the same bytes."""
    weights, views, d = situation(case)
    net = case.net("blas")
    found = {}
    for threads in (1, 2, 3, case.batch + 1):
        lib.threads_set(threads)
        runs = []
        for _ in range(3):
            params, buffers = net.load(weights)
            out = net.step(params, buffers, views, d)
            runs.append((out["feature"], out["grads"], buffers))
        found[threads] = runs[0]
        same = all((a == b).all() for r in runs[1:] for a, b in zip(r, runs[0]))
        check(f"{case}: {threads} threads repeat their bytes", same, "they differ")
        apart = max(relative(a, b) for a, b in zip(runs[0], found[1]))
        check(f"{case}: {threads} threads compute what one does", apart < APART[case.precision], f"{apart:.1e} apart")
    lib.threads_set(2)


def expected_spread(t, plain):
    """Standard deviation of the initialisation; None where it is constant. plain: by PyTorch's defaults, but tokens. Of patches,
    U(+-1/sqrt(3*16*16)), PyTorch's default."""
    if t.name.startswith("head."):
        return None if t.norm_or_bias else (t.shape[1] * 3) ** -0.5
    if t.name.startswith("patch_embed"):
        return (1 / (3 * 3 * 16 * 16)) ** 0.5
    if t.name in ("cls_token", "pos_embed"):
        return 1 if plain else {"cls_token": 1e-6, "pos_embed": 0.02}[t.name]
    if t.norm_or_bias or t.buffer:
        return None
    if plain:
        return (3 * t.shape[1]) ** -0.5
    if t.name.startswith("blocks"):
        return 0.02
    if t.name.startswith(("stage", "conv1.0", "conv5.0")):      # ShuffleNet's: PyTorch's default
        return (3 * np.prod(t.shape[1:])) ** -0.5
    return 0.01 if len(t.shape) == 2 else (2 / (t.shape[0] * t.shape[2] * t.shape[3])) ** 0.5


def test_init(arch):
    net = Net(arch, False, "simple", 128, (64, 64))
    first, again, other = (net.export(*net.init(seed)) for seed in (1, 1, 2))
    check(f"{arch}: net_init is a function of the seed", all((first[n] == again[n]).all() for n in first), "two draws differ")
    wrong, plain = [], arch == "vit_tiny_ssl"
    for t in net.tensors:
        x, spread = first[t.name].astype(np.float64), expected_spread(t, plain)
        if spread is not None:
            good = abs(x.std() / spread - 1) < 5 / np.sqrt(2 * x.size) and abs(x.mean()) < 5 * spread / np.sqrt(x.size)
            good = good and abs(np.corrcoef(x.ravel(), other[t.name].ravel())[0, 1]) < 5 / np.sqrt(x.size)
        elif not t.name.startswith("head.") and not (plain and t.name.endswith(("proj.bias", "fc1.bias", "fc2.bias"))):
            good = (x == (1 if t.name.endswith("running_var") or (t.norm_or_bias and t.name.endswith("weight")) else 0)).all()
        else:
            good = np.abs(x).max() <= (first[t.name.replace("bias", "weight")].shape[1]) ** -0.5
        wrong += [] if good else [t.name]
    check(f"{arch}: net_init draws torchvision's distributions", not wrong, f"{len(wrong)} do not, {wrong[:4]} among them")
    params, buffers = net.init(1)
    check(f"{arch}: import undoes export", all((a == b).all() for a, b in zip(net.load(first), (params, buffers))), "they differ")
    flags = [t.name for t in net.tensors if not t.buffer and t.norm_or_bias != (len(t.shape) in (1, 3))]
    check(f"{arch}: norm_or_bias marks the vectors, and DeiT's tokens", not flags, f"{flags[:4]}")


def test_refusals():
    for change, word in ((dict(head="round"), "'round'"), (dict(backend="abacus"), "'abacus'"), (dict(dim=0), "dimension 0"),
                         (dict(size=(0, 64)), "64x0"),
                         (dict(arch="deit_tiny", size=(64, 72)), "72x64")):
        refused(word, **change)


def main():
    lib.threads_set(2)
    for arch in ARCHS if FULL else SHORT:
        test_init(arch)
    test_refusals()
    for case in (Case("mobilenet_v3_small", True, 32), Case("resnet18", False, 64),
                 Case("deit_tiny", True, 16),
                 Case("mobilenet_v3_small", True, 32, precision="bf16"),
                 Case("deit_tiny", True, 16, precision="bf16")):
        test_symmetric(case)
        test_bytes(case)
        test_threads(case)
    return done()


if __name__ == "__main__":
    sys.exit(main())
