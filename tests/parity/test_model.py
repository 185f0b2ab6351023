"""test_model - weights as files: torchvision's read by us, ours by torchvision, a word for every file that does not fit"""
import functools
import os
import sys
import tempfile
from ctypes import c_char_p, c_int

import numpy as np

from net_ct import ARCHS, EVAL, SHORT, Net, P, Pass, declare, lib, ptr
from net_torch import backbone, normalised, whole
from sprat_ct import check, done, relative, safetensors_read, safetensors_write, why
from vit_torch import KINDS as VITS

import torch

declare("shim_model_save", c_int, P, c_char_p, c_char_p, P, P)
declare("shim_model_load", c_int, P, c_char_p, c_char_p, c_int, P, P)
REQUIRED, OPTIONAL = 0, 1
FULL = os.environ.get("FULL", "") not in ("", "0")
TESTED = ARCHS if FULL else SHORT
WHOLE = ("resnet18", "mobilenet_v3_small")     # read in every type in a short run too, the others in one
TYPES = {"f32": torch.float32, "f64": torch.float64, "f16": torch.float16, "bf16": torch.bfloat16}


def save(net, path, params, buffers, prefix=""):
    return lib.shim_model_save(net.handle, path.encode(), prefix.encode(), ptr(params), ptr(buffers))


def load(net, path, head=OPTIONAL, prefix=""):
    """(answer, parameters, buffers), which start as NaN where the file gives nothing."""
    params, buffers = net.vectors()
    params[:], buffers[:] = np.nan, np.nan
    return lib.shim_model_load(net.handle, path.encode(), prefix.encode(), head, ptr(params), ptr(buffers)), params, buffers


@functools.lru_cache(maxsize=None)
def published(arch):
    """A whole torchvision network (of tokens for 80x64), classifier and all, whose BN has seen something."""
    torch.manual_seed(0)
    if arch in VITS:
        model = backbone(arch, False)
        model.pos_embed = torch.nn.Parameter(0.02 * torch.randn(1, 21, VITS[arch].width))
        model.head = torch.nn.Linear(VITS[arch].width, 10)
        return model.state_dict()
    model = whole(arch)
    with torch.no_grad():
        for m in model.modules():
            if isinstance(m, torch.nn.BatchNorm2d):
                for t, low, high in ((m.running_var, 0.5, 2), (m.running_mean, -0.3, 0.3),
                                     (m.weight, 0.5, 1.5), (m.bias, -0.3, 0.3)):
                    t.uniform_(low, high)
    return model.state_dict()


def as_file(path, state, dtype, prefix=""):
    """Writes state with its floating tensors in another type; gives them back as that type holds them."""
    held = {n: t.to(dtype) if t.is_floating_point() else t for n, t in state.items()}
    raw = {n: t.view(torch.int16).numpy().view(np.uint16) if t.dtype == torch.bfloat16 else t.numpy() for n, t in held.items()}
    safetensors_write(path, {prefix + n: a for n, a in raw.items()})
    return {n: t.double() if t.is_floating_point() else t for n, t in held.items()}


def theirs(arch, small, state, views, dtype):
    model = backbone(arch, small)
    names = set(model.state_dict())
    model.load_state_dict({n: t for n, t in state.items() if n in names}, strict=True)
    with torch.no_grad():
        return model.eval().to(dtype)(normalised(views, dtype)).double().numpy()


def ours(net, params, buffers, views):
    return Pass(net, len(views), False).forward(params, buffers, views, EVAL)[0]


def test_reading(arch, path, views):
    net, state = Net(arch, False, "none", 0, views.shape[1:3]), published(arch)
    for i, (name, dtype) in enumerate(TYPES.items()):
        if not FULL and arch not in WHOLE and i != ARCHS.index(arch) % len(TYPES):
            continue
        held = as_file(path, state, dtype)
        answer, params, buffers = load(net, path)
        if check(f"{arch}: torchvision's weights as {name} are read", answer == 0, f"{answer} {why()}"):
            reference = theirs(arch, False, held, views, torch.float64)
            error, allowed = relative(ours(net, params, buffers, views), reference), max(
                1e-4, 2 * relative(theirs(arch, False, held, views, torch.float32), reference))
            check(f"{arch}: and give torchvision's features, {name}", error < allowed, f"{error:.1e}")
    as_file(path, state, torch.float32, "model.")
    check(f"{arch}: a prefix is found", load(net, path, prefix="model.")[0] == 0, why())


def test_writing(arch, path, views):
    for small in (False, True):
        net, label = Net(arch, small, "wide", 16, views.shape[1:3]), f"{arch}{' --small' if small else ''}"
        params, buffers = net.init(3)
        check(f"{label}: we write", save(net, path, params, buffers) == 0, why())
        answer, again, again_buffers = load(net, path, REQUIRED)
        same = answer == 1 and (again == params).all() and (again_buffers == buffers).all()
        check(f"{label}: and read the same back, head and all", same, f"{answer} {why()}")
        state = {n: torch.from_numpy(a.copy()) for n, a in safetensors_read(path)[0].items()}
        error = relative(ours(net, params, buffers, views), theirs(arch, small, state, views, torch.float64))
        check(f"{label}: torchvision loads the file and gives the same features", error < 1e-4, f"{error:.1e}")


def test_misfits(arch, path):
    net, state = Net(arch, False, "linear", 16, (80, 64)), published(arch)
    name = next(n for n in state if n.endswith("running_var") or n == "norm.weight")
    whole = {n: t.numpy() for n, t in state.items()}

    def refused(label, tensors, *words, head=OPTIONAL):
        safetensors_write(path, tensors)
        answer = load(net, path, head)[0]
        named = all(w in why() for w in words + (path,))
        check(f"{arch}: {label} is refused by name", answer == -1 and named, f"{answer} {why()}")

    refused("a missing tensor", {n: a for n, a in whole.items() if n != name}, f"'{name}'")
    short, width = whole[name][1:], len(whole[name])
    refused("another shape", dict(whole, **{name: short}), f"'{name}'", f"[{width - 1}]", f"[{width}]")
    refused("a tensor of integers", dict(whole, **{name: whole[name].astype(np.int64)}), f"'{name}'", "i64")
    refused("a file without the head that is needed", whole, "'head.", head=REQUIRED)
    refused("half a head", dict(whole, **{"head.0.bias": np.zeros(16, np.float32)}), "'head.0.weight'")
    if "pos_embed" in whole:
        refused("a position embedding of another size", dict(whole, pos_embed=whole["pos_embed"][:, 1:]), "[1,20,192]",
                "[1,21,192]", "size")
    other = TESTED[(TESTED.index(arch) + 1) % len(TESTED)]
    refused(f"a file of {other}", {n: t.numpy() for n, t in published(other).items()}, "architecture")


def test_positions(path):
    """A DeiT of 224 pixels read for other sizes: the position embedding as DeiT's fine-tuning code resizes it."""
    state = dict(published("deit_tiny"), pos_embed=0.02 * torch.randn(1, 197, 192, dtype=torch.float64))
    as_file(path, state, torch.float32)
    for h, w in ((80, 64), (384, 384), (16, 16)):
        net = Net("deit_tiny", False, "none", 0, (h, w))
        answer, params, buffers = load(net, path)
        grid = state["pos_embed"][:, 1:].reshape(1, 14, 14, 192).permute(0, 3, 1, 2)
        resized = torch.nn.functional.interpolate(grid, size=(h // 16, w // 16), mode="bicubic", align_corners=False)
        want = torch.cat([state["pos_embed"][:, :1], resized.permute(0, 2, 3, 1).flatten(1, 2)], 1)
        error = relative(net.export(params, buffers)["pos_embed"], want.numpy()) if answer == 0 else 1
        check(f"deit_tiny: a position embedding of 14x14 for {h // 16}x{w // 16} patches", error < 1e-6,
              f"{answer} {error:.1e} {why()}")


def main():
    views = np.random.default_rng(8).integers(0, 256, (4, 80, 64, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        for arch in TESTED:
            test_reading(arch, folder + "/theirs.safetensors", views)
            test_writing(arch, folder + "/ours.safetensors", views)
            test_misfits(arch, folder + "/misfit.safetensors")
        test_positions(folder + "/positions.safetensors")
    return done()


if __name__ == "__main__":
    sys.exit(main())
