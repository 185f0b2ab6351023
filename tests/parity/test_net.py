"""test_net - whole networks against torchvision in float64: the parity that sprat promises

For every tensor the relative L2 error is at most the larger of a bound (1e-4 features and head output; 1e-3 gradients, BN
statistics, weights after five MoCo steps) and twice the error of PyTorch's own float32 on the same input. Weights come from
net_init, travel under torchvision's names and are loaded with strict checks; BN scales and shifts are drawn anew, since ones
and zeros hide mistakes.

A tensor that is zero in exact arithmetic (the gradient of a BN shift that a later BN takes out again; float64 leaves less
than ZERO times the largest norm of its kind in the network) has no relative error. It is measured against FLOOR times that
largest norm: a gradient there may be 1e-7 of it, float32's resolution, and no more. The table counts such tensors.

FULL=1 runs every size; else one an architecture.
"""
import functools
import os
import sys
import tempfile
from dataclasses import dataclass, replace

import numpy as np

from net_ct import ARCHS, EVAL, KEY, TRAIN, Loss, Net, Pass, lib, ptr
from net_torch import clear, normalised, reference
from sprat_ct import aligned, check, done, relative, safetensors_read, safetensors_write

import torch

FULL = os.environ.get("FULL", "") not in ("", "0")
BACKENDS = ("blas", "onednn")
BOUNDS = {"outputs": 1e-4, "gradients": 1e-3, "statistics": 1e-3, "after 5 steps": 1e-3, "eval": 1e-4}
ZERO, FLOOR = 1e-12, 1e-4
DIM = 32
F64, F32 = torch.float64, torch.float32


@dataclass(frozen=True)
class Case:
    arch: str
    small: bool
    size: int
    head: str = "linear"
    splits: int = 1
    shuffled: bool = False
    batch: int = 13
    momentum: float = 0.0
    width: int = 0          # 0: square

    def __str__(self):
        return (f"{self.arch}{' --small' if self.small else ''} {self.size}{f'x{self.width}' if self.width else ''} {self.head} "
                f"splits {self.splits}{' shuffled' if self.shuffled else ''}")

    @property
    def extent(self):
        return self.size, self.width or self.size

    def net(self, backend):
        return Net(self.arch, self.small, self.head, DIM, self.extent, self.splits, self.momentum, backend)

    def reference(self, weights, dtype):
        return reference(self.arch, self.small, self.head, DIM, weights, dtype, self.splits, self.momentum)


# --- comparing ---

def judge(kind, ours, single, double):
    """Rows (times the allowed error, ours, torch's f32, tensor, whether it is zero), worst first."""
    if set(ours) != set(double):
        return [(float("inf"), float("inf"), 0.0, f"names {sorted(set(ours) ^ set(double))[:3]}", False)]
    largest = max(np.linalg.norm(r) for r in double.values())
    rows = []
    for name, r in double.items():
        zero = bool(np.linalg.norm(r) < ZERO * largest)
        error, theirs = (relative(x[name], r, zero * FLOOR * largest) for x in (ours, single))
        rows.append((error / max(BOUNDS[kind], 2 * theirs), error, theirs, name, zero))
    return sorted(rows, reverse=True)


table = []


def compare(label, backend, kinds, single, double):
    for kind, tensors in kinds.items():
        rows = judge(kind, tensors, single[kind], double[kind])
        times, ours, theirs, name, _ = rows[0]
        table.append((str(label), backend, kind, name, ours, theirs, sum(r[4] for r in rows)))
        check(f"{label} {backend}: {kind}", times <= 1, f"{name}: {ours:.2e}, PyTorch's f32 {theirs:.2e}; "
              f"{sum(r[0] > 1 for r in rows)} of {len(rows)} tensors too far")


def print_table():
    print(f"\n{'network':<62} {'backend':<7} {'kind':<14} {'worst tensor':<40} {'ours':>8} {'torch f32':>9} {'~0':>3}")
    for label, backend, kind, name, ours, theirs, floored in table:
        print(f"{label:<62} {backend:<7} {kind:<14} {name:<40} {ours:8.1e} {theirs:9.1e} {floored:3d}")


# --- one forward and backward ---

def pictures(draw, case):
    """Smooth random pictures with noise, u8."""
    smooth = draw.uniform(0, 255, (case.batch, 5, 5, 3))
    for axis, extent in enumerate(case.extent, 1):
        at = np.linspace(0, 3.999, extent)
        i, f = at.astype(int), (at % 1).reshape([-1] + [1] * (3 - axis))
        smooth = smooth.take(i, axis) * (1 - f) + smooth.take(i + 1, axis) * f
    return np.clip(smooth + draw.normal(0, 20, smooth.shape), 0, 255).astype(np.uint8)


def starting_weights(case, draw):
    net = case.net("blas")
    weights = net.export(*net.init(7))
    for t in net.tensors:
        if t.norm_or_bias:
            weights[t.name] += draw.uniform(-0.4, 0.4, t.shape).astype(np.float32)
    return weights


@functools.lru_cache(maxsize=2)
def situation(case):
    """(weights, views, order, d_feature, d_head), far from every kink."""
    draw = np.random.default_rng(1)
    weights, views = starting_weights(case, draw), pictures(draw, case)
    order = draw.permutation(case.batch).astype(np.int32)
    model = case.reference(weights, F64)
    margin, doubt = clear(model, views, order if case.shuffled else np.arange(case.batch))
    check(f"{case}: no kink within rounding", margin > 2e-5 and doubt == 0, f"nearest {margin:.1e}, {doubt} windows in doubt")
    weights.update({n: a.astype(np.float32) for n, a in model.named("parameters").items()})
    width = case.net("blas").feature_dim
    d_feature, d_head = (draw.normal(0, 1 / case.batch, (case.batch, w)).astype(np.float32) for w in (width, DIM))
    return weights, views, order if case.shuffled else None, d_feature, None if case.head == "none" else d_head


def torch_step(case, dtype, change=lambda model: None):
    """change: spoils the model, to see that the comparison notices."""
    weights, views, order, d_feature, d_head = situation(case)
    model = case.reference(weights, dtype)
    change(model)
    order = np.arange(case.batch) if order is None else order
    outputs = [o[np.argsort(order)] for o in model(normalised(views[order], dtype))][:1 if d_head is None else 2]
    sum((o * torch.from_numpy(d).to(dtype)).sum() for o, d in zip(outputs, (d_feature, d_head))).backward()
    return {"outputs": {n: o.detach().double().numpy() for n, o in zip(("feature", "head"), outputs)},
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


@functools.lru_cache(maxsize=1)
def moco_input(case):
    """Every convolution is scaled to one norm. BN makes that harmless, and the steps balanced: as drawn, the small first
    convolution of ResNet moves by a third in five steps, and one ReLU input within rounding of zero becomes an error of percents
    in PyTorch's f32 itself."""
    draw = np.random.default_rng(2)
    weights = starting_weights(case, draw)
    for name, w in weights.items():
        if w.ndim == 4 and ".fc" not in name:
            w *= 30 / np.linalg.norm(w)
    views = [[pictures(draw, case) for _ in range(2)] for _ in range(STEPS)]
    return weights, views, [draw.permutation(case.batch).astype(np.int32) for _ in range(STEPS)]


def moco_torch(case, dtype, queue, recipe):
    weights, views, orders = moco_input(case)
    query, key = case.reference(weights, dtype), case.reference(weights, dtype)
    optim = torch.optim.SGD(query.parameters(), recipe["lr"], recipe["momentum"], weight_decay=recipe["wd"])
    queue, losses, unit = torch.from_numpy(queue).to(dtype), [], torch.nn.functional.normalize
    for step, ((a, b), order) in enumerate(zip(views, orders)):
        order = order if recipe["shuffled"] else np.arange(case.batch)
        q = unit(query(normalised(a, dtype))[1])
        with torch.no_grad():
            for p, w in zip(key.parameters(), query.parameters()):
                p.mul_(recipe["ema"]).add_(w, alpha=1 - recipe["ema"])
            k = unit(key(normalised(b[order], dtype))[1])[np.argsort(order)]
        logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], 1) / recipe["t"]
        loss = torch.nn.functional.cross_entropy(logits, torch.zeros(case.batch, dtype=torch.long))
        optim.zero_grad()
        loss.backward()
        optim.step()
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
    net, loss, r = case.net(backend), moco_loss(case), RECIPE
    params, buffers = net.load(weights)
    key_params, key_buffers = net.load(weights)
    q_pass, k_pass = Pass(net, case.batch, True), Pass(net, case.batch, False)
    spelling, slots, grads, losses = f"sgd:momentum={r['momentum']},wd={r['wd']}".encode(), net.zeros(), net.zeros(), []
    for step, ((a, b), order) in enumerate(zip(views, orders)):
        q = q_pass.forward(params, buffers, a)[1]
        lib.ema_update(len(params), r["ema"], ptr(params), ptr(key_params))
        k = k_pass.forward(key_params, key_buffers, b, order, KEY)[1]
        value, d_q = loss.step(q, k)
        grads[:] = 0
        q_pass.backward(params, None, d_q, grads)
        lib.shim_optim_step(spelling, r["lr"], step, len(params), ptr(params), ptr(grads), ptr(slots))
        losses.append(value)
    after = {"query " + n: a for n, a in net.export(params, buffers).items()}
    after.update({"key " + n: a for n, a in net.export(key_params, key_buffers).items()})
    return {"after 5 steps": dict(after, queue=loss.queue, losses=np.array(losses))}, (net, params, buffers)


def test_moco(case):
    queue = moco_loss(case).queue
    double, single = moco_torch(case, F64, queue, RECIPE), moco_torch(case, F32, queue, RECIPE)
    for backend in BACKENDS:
        ours, trained = moco_ours(case, backend)
        compare(case, backend, ours, single, double)
        test_eval(case, backend, *trained)


def test_eval(case, backend, net, params, buffers):
    """The trained network as a file that torchvision loads, both in evaluation mode on new pictures."""
    views = pictures(np.random.default_rng(4), case)
    with tempfile.TemporaryDirectory() as folder:
        safetensors_write(folder + "/model.safetensors", net.export(params, buffers), {"arch": case.arch})
        weights, _ = safetensors_read(folder + "/model.safetensors")
    ours = dict(zip(("feature", "head"), Pass(net, case.batch, False).forward(params, buffers, views, None, EVAL)))
    theirs = {}
    for dtype in (F64, F32):
        with torch.no_grad():
            outputs = case.reference(weights, dtype).eval()(normalised(views, dtype))
        theirs[dtype] = {"eval": {n: o.double().numpy() for n, o in zip(("feature", "head"), outputs)}}
    compare(case, backend, {"eval": ours}, theirs[F32], theirs[F64])


# --- what holds without a reference ---

def test_symmetric(case):
    """Two passes are forward before either goes backward; gradients add up, running statistics move twice."""
    weights, views, order, d_feature, d_head = situation(case)
    other = views[::-1].copy()
    for backend in BACKENDS:
        net = case.net(backend)
        params, buffers = net.load(weights)
        apart = net.step(params, buffers, views, order, d_feature, d_head)["grads"] + \
            net.step(params, buffers, other, order, d_feature, d_head)["grads"]
        _, twice = net.load(weights)
        passes, grads = (Pass(net, case.batch, True), Pass(net, case.batch, True)), net.zeros()
        for p, v in zip(passes, (views, other)):
            p.forward(params, twice, v, order, TRAIN)
        for p in passes:
            p.backward(params, d_feature, d_head, grads)
        error = relative(grads, apart)
        check(f"{case} {backend}: two passes at once add up", error < 1e-6, f"{error:.1e} apart")
        check(f"{case} {backend}: two passes move the statistics twice", (twice == buffers).all(), "they differ")


def test_bytes(case):
    """Same arguments, same bytes: another pass, more room, a misaligned view. Key mode computes what train mode does."""
    weights, views, order, d_feature, d_head = situation(case)
    for backend in BACKENDS:
        net = case.net(backend)
        params, buffers = net.load(weights)
        first = net.step(params, buffers, views, order, d_feature, d_head)
        _, again_buffers = net.load(weights)
        odd = aligned(views.size + 1, np.uint8)[1:].reshape(views.shape)
        odd[:] = views
        again = net.step(params, again_buffers, odd, order, d_feature, d_head, room=case.batch + 5)
        same = all((first[k] == again[k]).all() for k in ("feature", "head", "grads")) and (buffers == again_buffers).all()
        check(f"{case} {backend}: repeated, the bytes are the same", same, "they differ")
        _, key_buffers = net.load(weights)
        feature, head = Pass(net, case.batch, False).forward(params, key_buffers, views, order, KEY)
        apart = max(relative(feature, first["feature"]), relative(head, first["head"]), relative(key_buffers, buffers))
        check(f"{case} {backend}: the key encoder computes the same", apart < 1e-5, f"{apart:.1e} apart")


def expected_spread(t, kind):
    """Standard deviation of the initialisation; None where it is constant."""
    if t.name.startswith("head."):
        return None if t.norm_or_bias else (t.shape[1] * 3) ** -0.5
    if t.norm_or_bias or t.buffer:
        return None
    return 0.01 if len(t.shape) == 2 else (2 / (t.shape[0] * t.shape[2] * t.shape[3])) ** 0.5


def test_init(arch):
    net = Net(arch, False, "simple", 128, (64, 64))
    first, again, other = (net.export(*net.init(seed)) for seed in (1, 1, 2))
    check(f"{arch}: net_init is a function of the seed", all((first[n] == again[n]).all() for n in first), "two draws differ")
    wrong = []
    for t in net.tensors:
        x, spread = first[t.name].astype(np.float64), expected_spread(t, net.kind)
        if spread is not None:
            good = abs(x.std() / spread - 1) < 5 / np.sqrt(2 * x.size) and abs(x.mean()) < 5 * spread / np.sqrt(x.size)
            good = good and abs(np.corrcoef(x.ravel(), other[t.name].ravel())[0, 1]) < 5 / np.sqrt(x.size)
        elif not t.name.startswith("head."):
            good = (x == (1 if t.name.endswith("running_var") or (t.norm_or_bias and t.name.endswith("weight")) else 0)).all()
        else:
            good = np.abs(x).max() <= (first[t.name.replace("bias", "weight")].shape[1]) ** -0.5
        wrong += [] if good else [t.name]
    check(f"{arch}: net_init draws torchvision's distributions", not wrong, f"{len(wrong)} do not, {wrong[:4]} among them")
    params, buffers = net.init(1)
    check(f"{arch}: import undoes export", all((a == b).all() for a, b in zip(net.load(first), (params, buffers))), "they differ")
    flags = [t.name for t in net.tensors if not t.buffer and t.norm_or_bias != (len(t.shape) == 1)]
    check(f"{arch}: norm_or_bias marks the vectors", not flags, f"{flags[:4]}")


def test_refusals():
    good = dict(arch=ARCHS[0], small=False, head="linear", dim=8, size=(64, 64), splits=1, backend="blas")
    for change, word in ((dict(head="round"), "'round'"), (dict(backend="abacus"), "'abacus'"), (dict(dim=0), "dimension 0"),
                         (dict(splits=0), "splits"), (dict(size=(0, 64)), "64x0")):
        try:
            Net(**dict(good, **change))
            sentence = "no refusal"
        except RuntimeError as e:
            sentence = str(e)
        check(f"{change} is refused", word in sentence, sentence)


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

ONE_SIZE = {"mobilenet_v3_small": (False, 97), "mobilenet_v3_large": (True, 35)}
SIZES = ((False, 64), (False, 97), (False, 224), (True, 32), (True, 35))


def main():
    tiny = Case("mobilenet_v3_small", True, 32, splits=4)
    cases = [Case(a, s, n, batch=13 if n < 100 else 6) for a in ARCHS for s, n in SIZES] if FULL else \
        [Case(a, *ONE_SIZE.get(a, (False, 64))) for a in ARCHS]
    for arch in ARCHS:
        test_init(arch)
    test_refusals()
    test_comparison(tiny)
    test_moco_comparison(replace(tiny, batch=8))
    for case in cases:
        for variant in (case, replace(case, splits=4, shuffled=True, head="simple")):
            test_step(variant)
    test_step(Case("resnet18", True, 32, batch=8))
    test_step(replace(tiny, size=30, width=45))
    for head in ("none", "linear", "wide", "deep"):
        test_step(replace(tiny, head=head))
    for case in (tiny, Case("resnet18", False, 64, "linear", 4, True)):
        test_symmetric(case)
        test_bytes(case)
    for case in cases:
        if case.size < 100:
            test_moco(replace(case, splits=4, batch=10, momentum=0.5))
    print_table()
    return done()


if __name__ == "__main__":
    sys.exit(main())
