"""net_steps - what networks are made to do, by sprat and by PyTorch: a step forward and backward, evaluation

Results are {kind: {tensor: array}}; what is too far from the truth is for a judge to say, of whom there are two (test_net,
test_net_bf16):

    judge(kind, ours, theirs, double)      rows (times the allowed error, our error, PyTorch's, tensor), worst first
"""
import os
import tempfile

import numpy as np

from judges import ALL
from net_case import pictures, situation
from net_ct import EVAL, OUTPUTS, Pass
from net_torch import outputs
from sprat_ct import BACKENDS, check, safetensors_read, safetensors_write
from vit_torch import KINDS as VITS

import torch

FULL = os.environ.get("FULL", "") not in ("", "0")
F64, F32, BF16 = torch.float64, torch.float32, torch.bfloat16

# (small, size); in a short run one of them for each network.
ALL_SIZES = ((False, 224), (False, 97), (True, 32), (True, 35))
PATCHED = ((False, 224), (False, 96), (True, 32))     # whole patches
ONE_SIZE = {"mobilenet_v3_small": (False, 97), "mobilenet_v3_large": (True, 35), "mobilenet_v2": (True, 32),
            "efficientnet_b0": (True, 32), "shufflenet_v2_x1_0": (True, 32), "efficientnet_b1": (False, 40)}


def sizes(arch):
    one = ONE_SIZE.get(arch, (True, 16) if arch in VITS else (False, 48))
    return (one,) if not FULL else PATCHED if arch in VITS else ALL_SIZES


# --- comparing ---

table = []


def judged(judge, ours, theirs, double):
    """{kind: what the judge says}; without batch norm there are no statistics."""
    return {kind: judge(kind, ours[kind], theirs[kind], double[kind]) for kind in double if double[kind]}


def of_all(rows):
    """The row over all tensors, where the judge gives one."""
    return next((r for r in rows if r[3] == ALL), rows[0])


def report(case, backend, verdicts):
    for kind, rows in verdicts.items():
        times, error, torchs, name = rows[0]
        table.append((str(case), backend, kind, *of_all(rows)[1:3], times, name))
        check(f"{case} {backend}: {kind}", times <= 1, f"{name}: {error:.2e}, PyTorch's {torchs:.2e}; "
              f"{sum(r[0] > 1 for r in rows)} of {len(rows)} too far")


def compare(judge, case, backend, ours, theirs, double):
    report(case, backend, judged(judge, ours, theirs, double))


def print_table():
    print(f"\n{'network':<62} {'backend':<7} {'kind':<14} {'ours':>8} {'torch':>8}  worst, of what is allowed")
    for label, backend, kind, ours, theirs, times, name in table:
        print(f"{label:<62} {backend:<7} {kind:<14} {ours:8.1e} {theirs:8.1e}  {times:5.2f} {name}")


def notices(judge, label, kind, spoilt, theirs, double):
    """That a comparison can fail: PyTorch's in place of ours, spoilt."""
    worst = judge(kind, spoilt[kind], theirs[kind], double[kind])[0]
    check(f"the comparison notices {label} in {kind}", worst[0] > 1, f"{worst[0]:.2f} of what is allowed, {worst[3]}")


def notices_broken(judge, kind, theirs, double):
    last = next(reversed(theirs[kind]))
    for label, value in (("a tensor missing", None), ("one that is not a number", np.nan), ("one of zeros", 0)):
        broken = {n: a for n, a in theirs[kind].items() if n != last}
        if value is not None:
            broken[last] = theirs[kind][last] * value
        notices(judge, label, kind, {kind: broken}, theirs, double)


# --- one forward and backward ---

def torch_forward(case, dtype, change):
    """(model, its outputs, the gradients they get)."""
    weights, views, given = situation(case)
    model = case.reference(weights, dtype)
    change(model)
    found = outputs(model, views, dtype)
    return model, *zip(*((o, torch.from_numpy(d).to(o.dtype)) for o, d in zip(found, given) if d is not None))


def torch_step(case, dtype, change=lambda model: None):
    """change: spoils the model, to see that the comparison notices."""
    model, found, d = torch_forward(case, dtype, change)
    torch.autograd.backward(found, d)
    return {"outputs": {n: o.detach().double().numpy() for n, o in zip(OUTPUTS, found)},
            "gradients": model.named("gradients"), "statistics": model.named("statistics")}


def our_step(case, backend, **options):
    weights, views, d = situation(case)
    net = case.net(backend)
    params, buffers = net.load(weights)
    out = net.step(params, buffers, views, d, **options)
    return {"outputs": {n: out[n] for n in OUTPUTS if n in out}, "gradients": net.export(out["grads"]),
            "statistics": net.export(None, buffers)}


# --- evaluation ---

def evaluate(case, net, params, buffers, precision):
    """Ours, PyTorch's in precision and in float64: the trained network as a file that torchvision loads, in evaluation mode on
    new pictures."""
    views = pictures(np.random.default_rng(4), case)
    with tempfile.TemporaryDirectory() as folder:
        safetensors_write(folder + "/model.safetensors", net.export(params, buffers), {"arch": case.arch})
        weights, _ = safetensors_read(folder + "/model.safetensors")
    p, theirs = Pass(net, case.batch, case.predictor != "none"), {}
    p.forward(params, buffers, views, EVAL)
    for dtype in (F64, precision):
        with torch.no_grad():
            found = outputs(case.reference(weights, dtype).eval(), views, dtype)
        theirs[dtype] = {"eval": {n: o.double().numpy() for n, o in zip(OUTPUTS, found)}}
    return {"eval": p.outputs()}, theirs[precision], theirs[F64]
