"""moco_steps - five steps of MoCo, or of BYOL, by sprat's trainer, which encode trains with, and by PyTorch

BN statistics are those of parts, keys are grouped by cells (lib/nn/train/parts.h), running statistics move once a step and
view by the mean over the parts, the momentum encoder moves before it computes keys and starts as the network is at its first
step, the rate falls by half a cosine. One side has view 0's queries and view 1's keys; the symmetric loss both sides. With a
predictor the loss is BYOL's, computed in float64 for all, and the key encoder's momentum rises; its statistics may be averaged
as its parameters are. A third view is smaller.

The steps take the same way through weights and pictures in every precision, and no kink lies near it: before each step the
float64 run moves biases as moving_biases() does, and all others repeat these moves. Without them one ReLU input within rounding
of zero parts the ways, and after five steps PyTorch's own f32 is parts in a hundred away from float64: a comparison would say
nothing.
"""
import copy
import functools
import itertools
import math
from dataclasses import dataclass, replace

import numpy as np

from net_case import DIM, pictures, starting_weights
from net_ct import HEAD, PREDICTOR, Loss
from net_steps import F64, FULL
from net_torch import PartsBN, clear, outputs, reset_statistics, set_alone, set_views, storage
from trainer_ct import Trainer, key_groups, query_parts
from vit_torch import KINDS as VITS

import torch

ONE, BOTH = ((0, 1),), ((0, 1), (1, 0))     # (view of the query, view of its key)
CROPS = ((0, 1), (2, 0))
RECIPE = dict(optim="sgd", lr=0.1, momentum=0.9, wd=3e-5, ema="0.9", t=1.0, schedule=True, cells=True, ema_first=True, mean=True,
              ema_buffers=False, freeze="none", rates="1")
STEPS, RUN = 5, 10       # taken, of a run that is longer


def moco_case(case, parts=0, sides=ONE):
    """Parts of four and five rows."""
    default, batch = (4, 18) if FULL or parts > 2 else (2, 9)
    return replace(case, parts=parts or default, batch=batch, momentum=0.5, sides=sides)


def byol_case(case, parts, ema_buffers):
    """Parts of a dozen rows: of few rows the variances in head and predictor say nothing."""
    return replace(case, head="48,bn,relu,32", predictor="40,bn,relu,32", parts=parts, batch=12 * parts, momentum=0.5, sides=BOTH,
                   ema_buffers=ema_buffers)


def queue_size(case):
    return 3 * case.batch


def byol(p, k):
    return (2 - 2 * torch.nn.functional.cosine_similarity(p.double(), k.double())).mean()


class Byol:
    """BYOL's as a Loss."""
    queue = np.zeros((0, DIM), np.float32)

    def step(self, p, k):
        p = torch.from_numpy(p).requires_grad_()
        value = byol(p, torch.from_numpy(k))
        value.backward()
        return value.item(), p.grad.numpy()


def losses_of(case):
    if case.predictor != "none":
        return [Byol() for _ in case.sides]
    rows = queue_size(case)
    return [Loss(f"moco:t={RECIPE['t']},k={rows}", case.batch, DIM, rows, 3 + i) for i in range(len(case.sides))]


@dataclass
class Way:
    """What the steps start from and are given: moves are what is added to biases before each step, {name: array}."""
    weights: dict
    views: list
    queues: list
    moves: list

    @property
    def unmoved(self):
        """The weights that there would be without an optimiser."""
        return {n: a + sum(m[n] for m in self.moves if n in m) for n, a in self.weights.items()}


def starting_point(case):
    """Classifier and head pass on what tells images apart, so that there are gradients to see; as drawn most of their output is
    their biases."""
    draw = np.random.default_rng(2)
    weights = starting_weights(case, draw)
    if case.freeze != "none":   # frozen statistics of some pictures
        model = case.reference(weights, F64)
        outputs(model, np.concatenate([pictures(draw, case) for _ in range(4)]), F64)
        weights.update({n: a.astype(np.float32) for n, a in model.named("statistics").items()})
    for name, w in weights.items():
        if w.ndim == 2 and name.startswith(("classifier", "head")):
            w *= (2 * len(w)) ** 0.5 / np.linalg.norm(w)
    views = [[pictures(draw, case, size) for size in case.extents] for _ in range(STEPS)]
    return Way(weights, views, [loss.queue.copy() for loss in losses_of(case)], [])


def parameters(model):
    return {n.replace("body.", "", 1): p for n, p in model.named_parameters()}


def move(way, step, model, passes):
    """Takes the model away from kinks of its forward passes, as the float64 model, which is the first, was taken."""
    named = parameters(model)
    if step == len(way.moves):
        clear(moved := copy.deepcopy(model), *passes)
        moves = {n: (p - named[n]).detach().numpy() for n, p in parameters(moved).items()}
        way.moves.append({n: by for n, by in moves.items() if by.any()})
    for n, by in way.moves[step].items():
        named[n].data += torch.from_numpy(by)


# --- PyTorch ---

def rate_of(name, rates):
    """The last of NAME=FACTOR,... that means a tensor counts."""
    return ([1.0] + [float(factor) for word, factor in (pair.split("=") for pair in rates.split(",") if "=" in pair)
                     if is_frozen(name, word)])[-1]


def is_frozen(name, freeze):
    room = name.split(".")[0] if name.startswith(("head.", "predictor.")) else "backbone"
    return any(word in (room, name) or (word.endswith(".") and name.startswith(word)) for word in freeze.split(","))


def freeze_model(model, freeze):
    """requires_grad=False, and batch norm in evaluation mode where all of it is frozen."""
    for name, p in parameters(model).items():
        p.requires_grad_(not is_frozen(name, freeze))
    for m in model.modules():
        if isinstance(m, PartsBN) and not (m.weight.requires_grad or m.bias.requires_grad):
            m.eval()


def fixed_norms(model):
    return [m for m in model.modules() if isinstance(m, PartsBN) and not m.training]


def cuts(groups, start=0):
    return [start + sum(map(len, groups[:i])) for i in range(len(groups) + 1)]


def torch_queries(case, way, step, model, views):
    """[q] of the sides: all views of a size in one forward pass, each part of each a batch of its own."""
    parts, of = query_parts(case.batch, case.parts), [v for v, _ in case.sides]
    passes = [[views[v] for v in same] for _, same in itertools.groupby(of, lambda v: views[v].shape)]
    passes = [p[0] if len(p) == 1 else np.concatenate(p) for p in passes]   # of one view the pixels may be moved
    set_views(model, [cuts(parts, i * case.batch) for i in range(len(passes[0]) // case.batch)])
    move(way, step, model, passes)
    return [q for p in passes for q in outputs(model, p, model.dtype)[-1].split(case.batch)]


def torch_keys(case, model, views, dtype, cells):
    groups = key_groups(case.batch, case.parts) if cells else query_parts(case.batch, case.parts)
    order = sum(groups, [])
    set_views(model, [cuts(groups)])
    with torch.no_grad():
        return [outputs(model, views[v][order], dtype)[1][np.argsort(order)] for _, v in case.sides]


def torch_optimiser(model, r):
    groups = {}
    for name, p in parameters(model).items():
        groups.setdefault(rate_of(name, r["rates"]), []).append(p)
    groups = [{"params": params, "times": times} for times, params in groups.items()]
    if r["optim"] == "adamw":
        return torch.optim.AdamW(groups, r["lr"], weight_decay=r["wd"])
    return torch.optim.SGD(groups, r["lr"], r["momentum"], weight_decay=r["wd"])


def torch_loss(case, r, step, queues, q, k):
    """(loss, the queues with the keys in them)."""
    if case.predictor != "none":
        return sum(byol(a, b) for a, b in zip(q, k)), queues
    unit, at, loss = torch.nn.functional.normalize, step * case.batch % queue_size(case), 0
    q, k = [unit(a) for a in q], [unit(a) for a in k]
    for a, b, queue in zip(q, k, queues):
        logits = torch.cat([(a * b).sum(1, keepdim=True), a @ queue.T], 1) / r["t"]
        loss = loss + torch.nn.functional.cross_entropy(logits, torch.zeros(case.batch, dtype=torch.long))
    return loss, [torch.cat([queue[:at], b, queue[at + case.batch:]]) for queue, b in zip(queues, k)]


def torch_key(case, way, dtype, r):
    """Without a predictor; of running statistics of its own where they are not averaged."""
    key = replace(case, predictor="none").reference({n: a for n, a in way.weights.items() if "predictor." not in n}, dtype)
    for m in key.modules():
        if isinstance(m, PartsBN) and r["ema_buffers"]:
            m.momentum = 0.0
    return key


def start_key(query, key, averaged):
    """As the network is now, its running statistics at 0 and 1 where they are not averaged, too."""
    held = key.state_dict()
    key.load_state_dict({n: t for n, t in query.state_dict().items() if n in held})
    if not averaged:
        reset_statistics(key)
    for own, of in zip(fixed_norms(key), fixed_norms(query)):
        own.load_state_dict(of.state_dict())


def move_key(query, key, step, r):
    ends = [float(m) for m in r["ema"].split("..")]
    m = ends[-1] - (ends[-1] - ends[0]) * (math.cos(math.pi * step / RUN) + 1) / 2
    pairs = [*zip(key.parameters(), query.parameters())]
    pairs += [*zip(key.buffers(), query.buffers())] if r["ema_buffers"] else []
    with torch.no_grad():
        for p, w in pairs:
            if p.is_floating_point() and (w.requires_grad or not isinstance(w, torch.nn.Parameter)):
                p.mul_(m).add_(w, alpha=1 - m)


def moco_steps(case, dtype, way, recipe, spoil=lambda model: None):
    """spoil: done to the model after every step."""
    query, key = case.reference(way.weights, dtype), torch_key(case, way, dtype, recipe)
    query.dtype = dtype
    for m in (query, key):
        freeze_model(m, recipe["freeze"])
    for m in (query, key):
        set_alone(m, not recipe["mean"])
    optim = torch_optimiser(query, recipe)
    queues, losses = [torch.from_numpy(q).to(storage(dtype)) for q in way.queues], []
    for step, views in enumerate(way.views):
        for group in optim.param_groups:
            height = 0.5 * (1 + math.cos(math.pi * step / RUN)) if recipe["schedule"] else 1
            group["lr"] = group["times"] * recipe["lr"] * height
        q = torch_queries(case, way, step, query, views)
        if step == 0:
            start_key(query, key, recipe["ema_buffers"])
        elif recipe["ema_first"]:
            move_key(query, key, step, recipe)
        k = torch_keys(case, key, views, dtype, recipe["cells"])
        if step and not recipe["ema_first"]:
            move_key(query, key, step, recipe)
        loss, queues = torch_loss(case, recipe, step, queues, q, k)
        optim.zero_grad()
        loss.backward()
        optim.step()
        spoil(query)
        losses.append(loss.item())
    named = {f"{who} {n}": a for who, m in (("query", query), ("key", key)) for kind in ("parameters", "statistics")
             for n, a in m.named(kind).items()}
    named.update({f"queue {i}": queue.double().numpy() for i, queue in enumerate(queues)})
    slots = {"sgd": ("momentum_buffer",), "adamw": ("exp_avg", "exp_avg_sq")}[recipe["optim"]]
    state = {f"{s} {n}": optim.state[p][s].double().numpy() if p.requires_grad else np.zeros(p.shape)
             for s in slots for n, p in parameters(query).items()}
    return after(way, dict(named, losses=np.array(losses)), state)


def after(way, named, state):
    """All that a run keeps; by themselves the optimiser's state, where wrong gradients show, and how far the weights have come,
    where a wrong optimiser does: against the weights both are small."""
    start = way.unmoved
    ends = {n.removeprefix("query "): a for n, a in named.items() if n.startswith("query ") and "running_" not in n}
    movement = {n: a.astype(np.float64) - start[n] for n, a in ends.items()}
    return {"after 5 steps": named, "momentum": state, "movement": movement}


def recipe_of(case):
    """AdamW for what has no batch norm."""
    change = dict(optim="adamw", lr=1e-3, wd=0.05) if case.arch in VITS else {}
    return dict(RECIPE, ema="0.9" if case.predictor == "none" else "0.9..1", ema_buffers=case.ema_buffers,
                freeze=case.freeze, rates=case.rates, **change)


@functools.lru_cache(maxsize=1)
def moco_truth(case):
    """(way, what float64 comes to)."""
    way = starting_point(case)
    return way, moco_steps(case, F64, way, recipe_of(case))


def moco_torch(case, dtype, **change):
    """change: of the recipe, or spoil."""
    spoil = {"spoil": change.pop("spoil")} if "spoil" in change else {}
    return moco_steps(case, dtype, moco_truth(case)[0], dict(recipe_of(case), **change), **spoil)


# --- sprat ---

def spelling(r):
    momentum = "" if r["optim"] == "adamw" else f",momentum={r['momentum']}"
    return f"{r['optim']}:lr={r['lr']}{momentum},wd={r['wd']}"


def moco_ours(case, backend, stream=False):
    """(what moco_torch gives, the trainer)."""
    way, losses, r, values = moco_truth(case)[0], losses_of(case), recipe_of(case), []
    t = Trainer(case.arch, case.small, case.head, DIM, case.extents, case.batch, case.parts, spelling(r), "cosine:by=step",
                r["ema"], case.momentum, stream, RUN, backend, case.precision, case.predictor, case.ema_buffers,
                HEAD if case.predictor == "none" else PREDICTOR, freeze=case.freeze, rates=case.rates)
    t.load(way.weights)

    def gradients(q, k):
        found = [loss.step(a, b) for loss, a, b in zip(losses, q, k)]
        values.append(sum(value for value, _ in found))
        return [d for _, d in found]

    for step, views in enumerate(way.views):
        t.net.add(t.params, way.moves[step])
        t.step(step, case.sides, views, gradients)
    named = {"query " + n: a for n, a in t.net.export(t.params, t.buffers).items()}
    named.update({"key " + n: a for n, a in t.net.export(t.key_params, t.key_buffers).items() if "predictor." not in n})
    named.update({f"queue {i}": loss.queue for i, loss in enumerate(losses)})
    slots = ("exp_avg", "exp_avg_sq") if r["optim"] == "adamw" else ("momentum_buffer",)
    state = {f"{s} {n}": a for i, s in enumerate(slots) for n, a in t.net.export(t.vector(5 + i)).items()}
    return after(way, dict(named, losses=np.array(values)), state), t
