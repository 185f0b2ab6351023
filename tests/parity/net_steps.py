"""net_steps - what networks are made to do, by sprat and by PyTorch: a step forward and backward, five steps of MoCo, evaluation

Results are {kind: {tensor: array}}; what is too far from the truth is for a judge to say, of whom there are two (test_net, test_net_bf16):

    judge(kind, ours, theirs, double)      rows (times the allowed error, our error, PyTorch's, tensor), worst first

The five steps take the same way through weights and pictures in every precision, and no kink lies near it: before each step the
float64 run moves biases as moving_biases() does, and all others repeat these moves. Without them one ReLU input within rounding of
zero parts the ways, and after five steps PyTorch's own f32 is parts in a hundred away from float64: a comparison would say nothing.
"""
import copy
import functools
import os
import tempfile
from dataclasses import dataclass, replace

import numpy as np

from judges import ALL
from net_case import DIM, Case, pictures, situation, starting_weights
from net_ct import EVAL, KEY, Loss, Optimiser, Pass, lib, ptr
from net_torch import clear_ties, moving_biases, outputs, storage
from sprat_ct import BACKENDS, check, safetensors_read, safetensors_write

import torch

FULL = os.environ.get("FULL", "") not in ("", "0")
F64, F32, BF16 = torch.float64, torch.float32, torch.bfloat16

# (small, size); in a short run one of them for each network.
ALL_SIZES = ((False, 224), (False, 97), (True, 32), (True, 35))
PATCHED = {"deit_tiny": ((False, 224), (False, 96), (True, 32))}     # whole patches
ONE_SIZE = {"mobilenet_v3_small": (False, 97), "mobilenet_v3_large": (True, 35), "mobilenet_v2": (True, 32),
            "efficientnet_b0": (True, 32), "shufflenet_v2_x1_0": (True, 32), "deit_tiny": (True, 16)}


def sizes(arch):
    one = ONE_SIZE.get(arch, (False, 48))
    return PATCHED.get(arch, ALL_SIZES) if FULL else (one,)


# --- comparing ---

table = []


def judged(judge, ours, theirs, double):
    """{kind: what the judge says}"""
    return {kind: judge(kind, ours[kind], theirs[kind], double[kind]) for kind in double if double[kind]}    # no batch norm, no statistics


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
    """(model, [feature, head output], the gradients they get)."""
    weights, views, d_feature, d_head = situation(case)
    model = case.reference(weights, dtype)
    change(model)
    found = outputs(model, views, dtype)
    return model, *zip(*((o, torch.from_numpy(d).to(o.dtype)) for o, d in zip(found, (d_feature, d_head)) if d is not None))


def torch_step(case, dtype, change=lambda model: None):
    """change: spoils the model, to see that the comparison notices."""
    model, found, d = torch_forward(case, dtype, change)
    torch.autograd.backward(found, d)
    return {"outputs": {n: o.detach().double().numpy() for n, o in zip(("feature", "head"), found)},
            "gradients": model.named("gradients"), "statistics": model.named("statistics")}


def our_step(case, backend, **options):
    weights, views, d_feature, d_head = situation(case)
    net = case.net(backend)
    params, buffers = net.load(weights)
    out = net.step(params, buffers, views, d_feature, d_head, **options)
    return {"outputs": {n: out[n] for n in ("feature", "head") if out[n] is not None},
            "gradients": net.export(out["grads"]), "statistics": net.export(None, buffers)}


# --- five steps of MoCo ---

RECIPE = dict(lr=0.1, momentum=0.9, wd=3e-5, ema=0.9, t=1.0)
STEPS = 5


def moco_case(case):
    return replace(case, batch=18 if FULL else 9)


def queue_size(case):
    return 3 * case.batch


def moco_loss(case):
    return Loss(f"moco:t={RECIPE['t']},k={queue_size(case)}", case.batch, DIM, queue_size(case), 3)


@dataclass
class Way:
    """What five steps start from and are given: moves are what is added to biases before each step, {name: array}."""
    weights: dict
    views: list
    queue: np.ndarray
    moves: list

    @property
    def unmoved(self):
        """The weights that there would be without an optimiser."""
        return {n: a + sum(m[n] for m in self.moves if n in m) for n, a in self.weights.items()}


def starting_point(case):
    """Classifier and head pass on what tells images apart, so that there are gradients to see; as drawn most of their output is their
    biases."""
    draw = np.random.default_rng(2)
    weights = starting_weights(case, draw)
    for name, w in weights.items():
        if w.ndim == 2 and name.startswith(("classifier", "head")):
            w *= (2 * len(w)) ** 0.5 / np.linalg.norm(w)
    views = [[pictures(draw, case) for _ in range(2)] for _ in range(STEPS)]
    return Way(weights, views, moco_loss(case).queue, [])


def move(way, step, model, views):
    """Takes the float64 model away from kinks, and keeps how; others are moved the same way. Gives its queries."""
    named = {n.replace("body.", "", 1): p for n, p in model.named_parameters()}
    if step < len(way.moves):
        for n, by in way.moves[step].items():
            named[n].data += torch.from_numpy(by)
        return outputs(model, views, model.dtype)[1]
    clear_ties(copy.deepcopy(model), views)
    before = {n: p.detach().clone() for n, p in named.items()}
    with moving_biases(model):
        q = outputs(model, views, F64)[1]
    way.moves.append({n: (p.detach() - before[n]).numpy() for n, p in named.items() if not torch.equal(p, before[n])})
    return q


def moco_steps(case, dtype, way, recipe=RECIPE, spoil=lambda model: None):
    """spoil: done to the model after every step."""
    query, key = case.reference(way.weights, dtype), case.reference(way.weights, dtype)
    query.dtype = dtype
    optim = torch.optim.SGD(query.parameters(), recipe["lr"], recipe["momentum"], weight_decay=recipe["wd"])
    queue, losses, unit = torch.from_numpy(way.queue).to(storage(dtype)), [], torch.nn.functional.normalize
    for step, (a, b) in enumerate(way.views):
        q = unit(move(way, step, query, a))
        with torch.no_grad():
            for p, w in zip(key.parameters(), query.parameters()):
                p.mul_(recipe["ema"]).add_(w, alpha=1 - recipe["ema"])
            k = unit(outputs(key, b, dtype)[1])
        logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], 1) / recipe["t"]
        loss = torch.nn.functional.cross_entropy(logits, torch.zeros(case.batch, dtype=torch.long))
        optim.zero_grad()
        loss.backward()
        optim.step()
        spoil(query)
        at = step * case.batch % queue_size(case)
        queue = torch.cat([queue[:at], k, queue[at + case.batch:]])
        losses.append(loss.item())
    named = {f"{who} {n}": a for who, m in (("query", query), ("key", key)) for kind in ("parameters", "statistics")
             for n, a in m.named(kind).items()}
    momentum = {n.replace("body.", "", 1): optim.state[p]["momentum_buffer"].double().numpy() for n, p in query.named_parameters()}
    return after(way, dict(named, queue=queue.double().numpy(), losses=np.array(losses)), momentum)


def after(way, named, momentum):
    """All that a run keeps; by themselves momentum, where wrong gradients show, and how far the weights have come, where a wrong optimiser
    does: against the weights both are small."""
    start = way.unmoved
    return {"after 5 steps": named, "momentum": momentum, "movement": {n[6:]: named[n].astype(np.float64) - start[n[6:]] for n in named
                                                 if n.startswith("query ") and "running_" not in n}}


@functools.lru_cache(maxsize=1)
def moco_truth(case):
    """(way, what float64 comes to)."""
    way = starting_point(case)
    return way, moco_steps(case, F64, way)


def moco_torch(case, dtype, **change):
    """change: of the recipe, or spoil."""
    spoil = {"spoil": change.pop("spoil")} if "spoil" in change else {}
    return moco_steps(case, dtype, moco_truth(case)[0], dict(RECIPE, **change), **spoil)


def moco_ours(case, backend):
    """(what moco_torch gives, the net, its weights)."""
    way, net, loss, r = moco_truth(case)[0], case.net(backend), moco_loss(case), RECIPE
    params, buffers = net.load(way.weights)
    key_params, key_buffers = net.load(way.weights)
    q_pass, k_pass = Pass(net, case.batch, True), Pass(net, case.batch, False)
    grads, losses = net.zeros(), []
    optim = Optimiser(f"sgd:momentum={r['momentum']},wd={r['wd']}", [params.shape])
    for step, (a, b) in enumerate(way.views):
        net.add(params, way.moves[step])
        q = q_pass.forward(params, buffers, a)[1]
        lib.ema_update(len(params), r["ema"], ptr(params), ptr(key_params))
        k = k_pass.forward(key_params, key_buffers, b, KEY)[1]
        value, d_q = loss.step(q, k)
        grads[:] = 0
        q_pass.backward(params, None, d_q, grads)
        optim.step(r["lr"], step, params, grads)
        losses.append(value)
    named = {"query " + n: a for n, a in net.export(params, buffers).items()}
    named.update({"key " + n: a for n, a in net.export(key_params, key_buffers).items()})
    state = dict(named, queue=loss.queue, losses=np.array(losses))
    return after(way, state, net.export(optim.slots["momentum"])), (net, params, buffers)


# --- evaluation ---

def evaluate(case, net, params, buffers, precision):
    """Ours, PyTorch's in precision and in float64: the trained network as a file that torchvision loads, in evaluation mode on new
    pictures."""
    views = pictures(np.random.default_rng(4), case)
    with tempfile.TemporaryDirectory() as folder:
        safetensors_write(folder + "/model.safetensors", net.export(params, buffers), {"arch": case.arch})
        weights, _ = safetensors_read(folder + "/model.safetensors")
    ours = dict(zip(("feature", "head"), Pass(net, case.batch, False).forward(params, buffers, views, EVAL)))
    theirs = {}
    for dtype in (F64, precision):
        with torch.no_grad():
            found = outputs(case.reference(weights, dtype).eval(), views, dtype)
        theirs[dtype] = {"eval": {n: o.double().numpy() for n, o in zip(("feature", "head"), found)}}
    return {"eval": ours}, theirs[precision], theirs[F64]
