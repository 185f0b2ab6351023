"""test_net - whole networks against torchvision in float64: the parity that sprat promises

For every tensor the relative L2 error is at most the larger of a bound (1e-4 features and head output; 1e-3 gradients, BN
statistics, weights after five MoCo steps) and twice the error of PyTorch's own float32 on the same input. Weights come from
net_init, travel under torchvision's names and are loaded with strict checks; BN scales and shifts are drawn anew, since ones
and zeros hide mistakes.

A tensor that is zero in exact arithmetic (the gradient of a BN shift that a later BN takes out again; float64 leaves less
than ZERO times the largest norm of its kind in the network) has no relative error. It is measured against FLOOR times that
largest norm: a gradient there may be 1e-7 of it, float32's resolution, and no more. The table counts such tensors.

bf16: test_net_bf16. FULL=1 runs every size; else one an architecture. Batches are small: what is compared is arithmetic, not learning.
"""
import functools
import os
import sys
import tempfile
from dataclasses import replace

import numpy as np

from net_case import DIM, Case, pictures, situation, starting_weights
import vit_torch
from net_ct import ARCHS, EVAL, KEY, Loss, Optimiser, Pass, lib, ptr
from net_torch import normalised, outputs, storage
from sprat_ct import check, done, relative, safetensors_read, safetensors_write

import torch

FULL = os.environ.get("FULL", "") not in ("", "0")
BACKENDS = ("blas", "onednn")
BOUNDS = {"outputs": 1e-4, "gradients": 1e-3, "statistics": 1e-3, "after 5 steps": 1e-3, "eval": 1e-4}
FACTOR = 2
ZERO, FLOOR = 1e-12, 1e-4
F64, F32 = torch.float64, torch.float32


# --- comparing ---

def judge(kind, ours, single, double):
    """Rows (times the allowed error, ours, torch's f32, tensor, whether it is zero), worst first."""
    if set(ours) != set(double):
        return [(float("inf"), float("inf"), 0.0, f"names {sorted(set(ours) ^ set(double))[:3]}", False)]
    largest = max((np.linalg.norm(r) for r in double.values()), default=0)
    rows = []
    for name, r in double.items():
        zero = bool(np.linalg.norm(r) < ZERO * largest)
        error, theirs = (relative(x[name], r, zero * FLOOR * largest) for x in (ours, single))
        rows.append((error / max(BOUNDS[kind], FACTOR * theirs), error, theirs, name, zero))
    return sorted(rows, reverse=True)


table = []


def compare(case, backend, kinds, single, double):
    for kind, tensors in kinds.items():
        if not tensors and not double[kind]:     # no batch norm, no statistics
            continue
        rows = judge(kind, tensors, single[kind], double[kind])
        times, ours, theirs, name, _ = rows[0]
        table.append((str(case), backend, kind, name, ours, theirs, sum(r[4] for r in rows)))
        check(f"{case} {backend}: {kind}", times <= 1, f"{name}: {ours:.2e}, PyTorch's f32 {theirs:.2e}; "
              f"{sum(r[0] > 1 for r in rows)} of {len(rows)} tensors too far")


def print_table():
    print(f"\n{'network':<62} {'backend':<7} {'kind':<14} {'worst tensor':<40} {'ours':>8} {'torch f32':>9} {'~0':>3}")
    for label, backend, kind, name, ours, theirs, floored in table:
        print(f"{label:<62} {backend:<7} {kind:<14} {name:<40} {ours:8.1e} {theirs:9.1e} {floored:3d}")


# --- one forward and backward ---

def torch_step(case, dtype, change=lambda model: None):
    """change: spoils the model, to see that the comparison notices."""
    weights, views, order, d_feature, d_head = situation(case)
    model = case.reference(weights, dtype)
    change(model)
    order = np.arange(case.batch) if order is None else order
    found = [o[np.argsort(order)] for o in outputs(model, views[order], dtype)][:1 if d_head is None else 2]
    sum((o * torch.from_numpy(d).to(o.dtype)).sum() for o, d in zip(found, (d_feature, d_head))).backward()
    return {"outputs": {n: o.detach().double().numpy() for n, o in zip(("feature", "head"), found)},
            "gradients": model.named("gradients"), "statistics": model.named("statistics")}


def our_step(case, backend, **options):
    weights, views, order, d_feature, d_head = situation(case)
    net = case.net(backend)
    params, buffers = net.load(weights)
    out = net.step(params, buffers, views, order, d_feature, d_head, **options)
    return {"outputs": {n: out[n] for n in ("feature", "head") if out[n] is not None},
            "gradients": net.export(out["grads"]), "statistics": net.export(None, buffers)}


def test_step(case):
    double, single = torch_step(case, F64), torch_step(case, F32)
    for backend in BACKENDS:
        compare(case, backend, our_step(case, backend, room=case.batch + 3), single, double)


# --- five steps of MoCo ---

RECIPE = dict(lr=0.01, momentum=0.9, wd=0.05, ema=0.9, t=1.0, shuffled=True)
STEPS, SIZE = 5, 40
# MobileNetV2 has linear bottlenecks without gates under an epsilon of 1e-5: at the rate and the splits of the others PyTorch's f32
# itself is parts in ten away from float64 after five steps, and a comparison would say nothing.
GENTLE = {"mobilenet_v2": dict(lr=0.001, splits=1)}


def moco_case(case):
    return replace(case, splits=GENTLE.get(case.arch, {}).get("splits", 4), batch=10, momentum=0.5)


def moco_recipe(case):
    return dict(RECIPE, lr=GENTLE.get(case.arch, RECIPE)["lr"])


@functools.lru_cache(maxsize=1)
def moco_input(case):
    """Every convolution is scaled to one norm. BN makes that harmless, and the steps balanced: as drawn, the small first
    convolution of ResNet moves by a third in five steps, and one ReLU input within rounding of zero becomes an error of percents
    in PyTorch's f32 itself."""
    draw = np.random.default_rng(2)
    weights = starting_weights(case, draw)
    for name, w in weights.items() if case.arch != "deit_tiny" else ():
        if w.ndim == 4 and ".fc" not in name:
            w *= 30 / np.linalg.norm(w)
    views = [[pictures(draw, case) for _ in range(2)] for _ in range(STEPS)]
    return weights, views, [draw.permutation(case.batch).astype(np.int32) for _ in range(STEPS)]


def moco_torch(case, dtype, queue, recipe, spoil=lambda model: None):
    """spoil: done to the model after every step."""
    weights, views, orders = moco_input(case)
    query, key = case.reference(weights, dtype), case.reference(weights, dtype)
    optim = torch.optim.SGD(query.parameters(), recipe["lr"], recipe["momentum"], weight_decay=recipe["wd"])
    queue, losses, unit = torch.from_numpy(queue).to(storage(dtype)), [], torch.nn.functional.normalize
    for step, ((a, b), order) in enumerate(zip(views, orders)):
        order = order if recipe["shuffled"] else np.arange(case.batch)
        q = unit(outputs(query, a, dtype)[1])
        with torch.no_grad():
            for p, w in zip(key.parameters(), query.parameters()):
                p.mul_(recipe["ema"]).add_(w, alpha=1 - recipe["ema"])
            k = unit(outputs(key, b[order], dtype)[1])[np.argsort(order)]
        logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], 1) / recipe["t"]
        loss = torch.nn.functional.cross_entropy(logits, torch.zeros(case.batch, dtype=torch.long))
        optim.zero_grad()
        loss.backward()
        optim.step()
        spoil(query)
        at = step * case.batch % SIZE
        queue = torch.cat([queue[:at], k, queue[at + case.batch:]])
        losses.append(loss.item())
    after = {"query " + n: a for kind in ("parameters", "statistics") for n, a in query.named(kind).items()}
    after.update({"key " + n: a for kind in ("parameters", "statistics") for n, a in key.named(kind).items()})
    return {"after 5 steps": dict(after, queue=queue.double().numpy(), losses=np.array(losses))}


def moco_loss(case):
    return Loss(f"moco:t={RECIPE['t']},k={SIZE}", case.batch, DIM, SIZE, 3)


def moco_ours(case, backend):
    """(what moco_torch gives, the net, its weights)."""
    weights, views, orders = moco_input(case)
    net, loss, r = case.net(backend), moco_loss(case), moco_recipe(case)
    params, buffers = net.load(weights)
    key_params, key_buffers = net.load(weights)
    q_pass, k_pass = Pass(net, case.batch, True), Pass(net, case.batch, False)
    grads, losses = net.zeros(), []
    optim = Optimiser(f"sgd:momentum={r['momentum']},wd={r['wd']}", [params.shape])
    for step, ((a, b), order) in enumerate(zip(views, orders)):
        q = q_pass.forward(params, buffers, a)[1]
        lib.ema_update(len(params), r["ema"], ptr(params), ptr(key_params))
        k = k_pass.forward(key_params, key_buffers, b, order, KEY)[1]
        value, d_q = loss.step(q, k)
        grads[:] = 0
        q_pass.backward(params, None, d_q, grads)
        optim.step(r["lr"], step, params, grads)
        losses.append(value)
    after = {"query " + n: a for n, a in net.export(params, buffers).items()}
    after.update({"key " + n: a for n, a in net.export(key_params, key_buffers).items()})
    return {"after 5 steps": dict(after, queue=loss.queue, losses=np.array(losses))}, (net, params, buffers)


def test_moco(case):
    queue, recipe = moco_loss(case).queue, moco_recipe(case)
    double, single = moco_torch(case, F64, queue, recipe), moco_torch(case, F32, queue, recipe)
    for backend in BACKENDS:
        ours, trained = moco_ours(case, backend)
        compare(case, backend, ours, single, double)
        compare(case, backend, *evaluate(case, *trained, F32))


def evaluate(case, net, params, buffers, precision):
    """Ours, PyTorch's in precision and in float64: the trained network as a file that torchvision loads, in evaluation mode on new
    pictures."""
    views = pictures(np.random.default_rng(4), case)
    with tempfile.TemporaryDirectory() as folder:
        safetensors_write(folder + "/model.safetensors", net.export(params, buffers), {"arch": case.arch})
        weights, _ = safetensors_read(folder + "/model.safetensors")
    ours = dict(zip(("feature", "head"), Pass(net, case.batch, False).forward(params, buffers, views, None, EVAL)))
    theirs = {}
    for dtype in (F64, precision):
        with torch.no_grad():
            found = outputs(case.reference(weights, dtype).eval(), views, dtype)
        theirs[dtype] = {"eval": {n: o.double().numpy() for n, o in zip(("feature", "head"), found)}}
    return {"eval": ours}, theirs[precision], theirs[F64]


# --- the comparison must be able to fail ---

def notices(label, kind, spoilt, single, double):
    check(f"the comparison notices {label}", judge(kind, spoilt[kind], single[kind], double[kind])[0][0] > 1, "it does not")


def set_eps(model):
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.eps = 1e-5


def scale_one_weight(model):
    with torch.no_grad():
        model.body.features[5].block[1][0].weight.mul_(1.01)


def test_comparison(case):
    double, single = torch_step(case, F64), torch_step(case, F32)
    for kind in double:
        times = judge(kind, single[kind], single[kind], double[kind])[0][0]
        check(f"PyTorch's f32 passes as ours: {kind}", times <= 1, f"{times:.1f} times too far")
    for label, change in (("a wrong BN epsilon", set_eps), ("a weight scaled by 1 %", scale_one_weight)):
        spoilt = torch_step(case, F32, change)
        for kind in ("outputs", "gradients"):
            notices(f"{label} in {kind}", kind, spoilt, single, double)
    other = torch_step(replace(case, splits=2), F32)
    notices("other BN splits", "outputs", other, single, double)
    name = "features.1.block.1.fc2.bias"
    for label, value in (("one gradient missing", None), ("one NaN", np.nan), ("one gradient of zeros", 0)):
        broken = dict(single["gradients"])
        broken.pop(name)
        if value is not None:
            broken[name] = single["gradients"][name] * value
        notices(label, "gradients", {"gradients": broken}, single, double)


def test_moco_comparison(case):
    queue = moco_loss(case).queue
    double, single = moco_torch(case, F64, queue, RECIPE), moco_torch(case, F32, queue, RECIPE)
    for key, value in dict(lr=0.012, momentum=0.8, wd=0.04, ema=0.8, t=1.1, shuffled=False).items():
        spoilt = moco_torch(case, F32, queue, dict(RECIPE, **{key: value}))
        notices(f"{key}={value} in place of {RECIPE[key]}", "after 5 steps", spoilt, single, double)


# --- all of it ---

def test_names():
    """timm's names and shapes, from its list; and that what stands for timm computes what torchvision's own network does."""
    case = Case("deit_tiny", False, 224, "none", batch=2)
    net, draw = case.net("blas"), np.random.default_rng(5)
    found = {t.name: t.shape for t in net.tensors}
    check("deit_tiny: names and shapes are timm's", found == vit_torch.names(), f"{set(found.items()) ^ set(vit_torch.names().items())}")
    weights, x = starting_weights(case, draw), normalised(pictures(draw, case), F64)
    with torch.no_grad():
        ours = case.reference(weights, F64).body(x).numpy()
        state = {n: torch.from_numpy(a.copy()) for n, a in weights.items()}
        theirs = vit_torch.as_torchvision(state, 224, vit_torch.PATCH).eval().to(F64)(x).numpy()
    check("deit_tiny: the reference is torchvision's network", relative(ours, theirs) < 1e-12, f"{relative(ours, theirs):.1e}")


ONE_SIZE = {"mobilenet_v3_small": (False, 97), "mobilenet_v3_large": (True, 35), "mobilenet_v2": (True, 32),
            "efficientnet_b0": (True, 32), "deit_tiny": (True, 32)}
ALL_SIZES = ((False, 224), (False, 97), (True, 32), (True, 35))
PATCHED = {"deit_tiny": ((False, 224), (False, 96), (True, 32))}     # whole patches
LARGE = ("resnet34", "resnet50")     # five steps of these take minutes


def test_sizes(arch):
    """Plain, and with split and shuffled BN and another head; only the second where pictures are large."""
    for small, size in PATCHED.get(arch, ALL_SIZES) if FULL else (ONE_SIZE.get(arch, (False, 64)),):
        if size < 200:
            test_step(Case(arch, small, size, batch=4))
        test_step(Case(arch, small, size, "simple", splits=2, shuffled=True, batch=5))


def test_five_steps(arch):
    """At 32; in a short run at a size where they are cheap, the largest networks not at all."""
    if FULL:
        test_moco(moco_case(Case(arch, True, 32)))
    elif arch not in LARGE:
        test_moco(moco_case(Case(arch, *ONE_SIZE.get(arch, (False, 64)))))


def main():
    tiny = Case("mobilenet_v3_small", True, 32, splits=4)
    lib.threads_set(2)
    test_names()
    test_comparison(tiny)
    test_moco_comparison(replace(tiny, batch=8))
    for arch in ARCHS:
        test_sizes(arch)
        test_five_steps(arch)
    test_step(Case("resnet18", True, 32, batch=8))
    test_step(replace(tiny, size=30, width=45))
    for head in ("none", "linear", "wide", "deep"):
        test_step(replace(tiny, head=head))
    print_table()
    return done()


if __name__ == "__main__":
    sys.exit(main())
