"""losses_torch - each loss written down in PyTorch from its definition, for test_losses.py

A transcription takes inputs by name (float64, those that are trained with a gradient; labels int64), the parameters by name,
and what the loss remembers by name, and gives the value and what it remembers then. Where a loss begins with random numbers the
first ones are the library's.
"""
import math

import torch
from torch.nn.functional import cross_entropy, kl_div, normalize as unit, smooth_l1_loss

from loss_ct import IMAGES, LR

TRANSCRIPTIONS = {}


def transcription(f):
    TRANSCRIPTIONS[f.__name__] = f
    return f


def crossed(x, p, k):
    """Mean cosine of both views' predictions and the other view's target."""
    return sum((unit(x[f"{p}{i}"]) * unit(x[f"{k}{1 - i}"].detach())).sum(1).mean() for i in range(2)) / 2


def push(queue, at, rows):
    """The queue after rows have replaced its oldest, and where the next ones go."""
    queue, order = queue.clone(), [(at + i) % len(queue) for i in range(len(rows))]
    queue[order] = rows.detach()
    return queue, (at + len(rows)) % len(queue)


def info_nce(q, k, queue, t):
    logits = torch.cat([(unit(q) * unit(k.detach())).sum(1, keepdim=True), unit(q) @ queue.T], 1) / t
    return cross_entropy(logits, torch.zeros(len(q), dtype=torch.long))


def spread(p):
    """Shares of a target beside the key: of the nearest entries in order, and of every entry (light-moco's plans)."""
    smooth, nn, plan = p.get("smooth", 0), int(p.get("nn", 1)), p.get("plan", "even")
    if plan == "halving":
        return [.2 / 2 ** i for i in range(10)] + [.2 / 2 ** 9], 0
    if plan == "all":
        return [], smooth
    if plan == "even":
        return [smooth / nn] * nn, 0
    second = math.ceil(math.sqrt(nn)) - 1
    return [smooth / 2] + [smooth / 4 / second] * second + [smooth / 4 / (nn - 1 - second)] * (nn - 1 - second), 0


def smooth_nce(q, k, queue, p):
    """Cross-entropy with a target that is shared with entries near to the query or to the key."""
    shares, everywhere = spread(p)
    cosines = unit(k if p.get("by", "q") == "k" else q).detach() @ queue.T
    near = cosines.sort(dim=1, descending=True, stable=True).indices[:, :len(shares)]
    y = torch.full((len(q), 1 + len(queue)), everywhere / len(queue), dtype=q.dtype)
    y[:, 0] = 1 - everywhere - sum(shares)
    for r, share in enumerate(shares):
        y[torch.arange(len(q)), 1 + near[:, r]] += share
    logits = torch.cat([(unit(q) * unit(k.detach())).sum(1, keepdim=True), unit(q) @ queue.T], 1) / p.get("t", 0.1)
    return soft_cross_entropy(y, logits)


@transcription
def moco(x, p, s):
    queue, at = s["loss.queue"], s["loss.pointer"]
    if not p.get("sym", 0):
        loss, keys = smooth_nce(x["q0"], x["k1"], queue, p), [x["k1"]]
    else:
        loss = (smooth_nce(x["q0"], x["k1"], queue, p) + smooth_nce(x["q1"], x["k0"], queue, p)) / 2
        keys = [x["k0"], x["k1"]]
    for k in keys:
        queue, at = push(queue, at, unit(k))
    return loss, {"loss.queue": queue, "loss.pointer": at}


def others(x, t):
    """Logits of the 2N rows of both views against each other, none against itself."""
    u = unit(torch.cat([x["q0"], x["q1"]]))
    return (u @ u.T / t).masked_fill(torch.eye(len(u), dtype=torch.bool), -torch.inf)


@transcription
def simclr(x, p, s):
    logits = others(x, p.get("t", 0.5))
    n = len(logits)
    return cross_entropy(logits, (torch.arange(n) + n // 2) % n), s


@transcription
def supcon(x, p, s):
    label = torch.where(x["label"] < 0, -1 - torch.arange(len(x["label"])), x["label"]).repeat(2)
    logs = others(x, p.get("t", 0.1)).log_softmax(1)
    positive = (label[:, None] == label[None]) & ~torch.eye(len(label), dtype=torch.bool)
    return -(torch.where(positive, logs, 0).sum(1) / positive.sum(1)).mean(), s


@transcription
def simsiam(x, p, s):
    return -crossed(x, "p", "q"), s


@transcription
def byol(x, p, s):
    return 2 - 2 * crossed(x, "p", "k"), s


@transcription
def ce(x, p, s):
    known = x["label"] >= 0
    if not known.any():
        return 0 * x["q0"].sum(), s
    return cross_entropy(x["q0"][known], x["label"][known], label_smoothing=p.get("smooth", 0)), s


# --- with a teacher ---

def soft_cross_entropy(targets, logits):
    return -(targets * logits.log_softmax(1)).sum(1).mean()


def seed_term(q, t, queue, p):
    t = unit(t.detach())
    one = torch.ones(len(t), 1, dtype=t.dtype)
    targets = (torch.cat([one, t @ queue.T], 1) / p.get("tt", 0.01)).softmax(1)
    return soft_cross_entropy(targets, torch.cat([(unit(q) * t).sum(1, keepdim=True), unit(q) @ queue.T], 1) / p.get("t", 0.2))


@transcription
def seed(x, p, s):
    queue, at = push(s["loss.queue"], s["loss.pointer"], unit(x["t0"]))
    loss, n = seed_term(x["q0"], x["t0"], s["loss.queue"], p), int(p.get("patches", 0))
    state = {"loss.queue": queue, "loss.pointer": at}
    if n:
        rows = [torch.cat([x[f"{who}{i}"] for i in range(1, n + 1)]) for who in "qt"]
        loss = loss + seed_term(*rows, s["loss.patches"], p)
        state["loss.patches"], state["loss.patch_pointer"] = push(s["loss.patches"], s["loss.patch_pointer"], unit(x["t1"]))
    return loss, state


@transcription
def compress(x, p, s):
    t, two, teacher = p.get("t", 0.04), p.get("banks", 1) > 1, unit(x["tfeature0"].detach())
    y = (teacher @ s["loss.bank"].T / t).softmax(1)
    z = (unit(x["q0"]) @ s["loss.keys" if two else "loss.bank"].T / t).log_softmax(1)
    bank, at = push(s["loss.bank"], s["loss.pointer"], teacher)
    state = {"loss.bank": bank, "loss.pointer": at}
    if two:
        state["loss.keys"], state["loss.keys_pointer"] = push(s["loss.keys"], s["loss.keys_pointer"], unit(x["k0"]))
    return kl_div(z, y, reduction="batchmean"), state


@transcription
def simreg(x, p, s):
    return 2 - 2 * (unit(x["q0"]) * unit(x[f"tfeature{int(p.get('view', 0))}"].detach())).sum(1).mean(), s


def distance(a, b):
    return (unit(a) - unit(b.detach())).square().sum(1).mean()


@transcription
def disco(x, p, s):
    loss, state = p.get("w", 32) * (distance(x["q0"], x["t0"]) + distance(x["q1"], x["t1"])), {}
    if not p.get("only", 0):
        loss = loss + info_nce(x["q0"], x["k1"], s["loss.queue"], p.get("t", 0.2))
        state["loss.queue"], state["loss.pointer"] = push(s["loss.queue"], s["loss.pointer"], unit(x["k1"]))
    return loss, state


@transcription
def bingo(x, p, s):
    queue, t, first = s["loss.queue"], p.get("t", 0.2), p.get("warm", 10) > 0

    def nce(q, k):
        logits = torch.cat([(unit(q) * unit(k.detach())).sum(1, keepdim=True), unit(q) @ queue.T], 1) / t
        return cross_entropy(logits, torch.zeros(len(q), dtype=torch.long), reduction="none")

    w1, w2 = (1, 0) if first else (.5, .5)
    terms = (w1 * nce(x["q0"], x["t1"]) + w2 * nce(x["q0"], x["t3"]) + w1 * nce(x["q2"], x["t3"]) + w2 * nce(x["q2"], x["t1"]))
    if p.get("mix", 1):
        terms = (terms + x["mix"] * nce(x["q4"], x["t1"]) + (1 - x["mix"]) * nce(x["q4"], x["t3"])) / 3
    else:
        terms = terms / 2
    queue, at = push(queue, s["loss.pointer"], unit(x["t1"]))
    return terms.mean(), {"loss.queue": queue, "loss.pointer": at}


SIMDIS = {"sdv": ("q", 1), "semasv": ("k", 0), "semadv": ("k", 1), "tsv": ("t", 0), "tdv": ("t", 1), "temasv": ("tk", 0),
          "temadv": ("tk", 1)}


@transcription
def simdis(x, p, s):
    kinds = {"2v": ["semadv", "temadv"], "7v": list(SIMDIS)}.get(p.get("kinds", "2v")) or p["kinds"].split("+")

    def cosine(prediction, who, other):
        return sum((unit(x[f"{prediction}{i}"]) * unit(x[f"{who}{abs(i - other)}"].detach())).sum(1).mean() for i in range(2))

    loss = sum(4 - 2 * cosine(f"p{c}", *SIMDIS[c]) for c in kinds) / len(kinds)
    return loss + (2 - cosine("tp", "tk", 1) if p.get("online", 0) else 0), s


@transcription
def directpred(x, p, s):
    q, steps = [x["q0"], x["q1"]], s["loss.steps"]
    rho, eps = p.get("rho", 0.3), p.get("eps", 0.1)
    correlation = sum(v.detach().T @ v.detach() for v in q) / sum(map(len, q))
    f, w = rho * s["loss.f"] + (1 - rho) * correlation, s["loss.w"]
    if steps % p.get("every", 1) == 0:
        values, vectors = torch.linalg.eigh(f)
        values = values.clamp(min=0)
        greatest = values.max().sqrt() if p.get("eps_of", "root") == "root" else values.max()
        root = values.sqrt() + eps * greatest
        w = vectors @ torch.diag(root) @ vectors.T
    loss = 2 - 2 * crossed({"p0": q[0] @ w, "p1": q[1] @ w, "k0": x["k0"], "k1": x["k1"]}, "p", "k")
    return loss, {"loss.f": f, "loss.w": w, "loss.steps": steps + 1}


@transcription
def barlow(x, p, s):
    a, b = (torch.nn.functional.batch_norm(x[n], None, None, training=True) for n in ("q0", "q1"))
    c = a.T @ b / len(a)
    on = (c.diagonal() - 1).square().sum()
    return on + p.get("lambda", 0.005) * (c.square().sum() - c.diagonal().square().sum()), s


@transcription
def crd(x, p, s):
    """The layers move within: their gradients are taken of the loss alone, not of its graph to q0."""
    t, layers, state = p.get("t", 0.07), "loss.student" in s, {}
    rows = {"student": x["q0"], "teacher": x["t0"].detach()}
    weights = {who: s[f"loss.{who}"].clone().requires_grad_() for who in rows if layers}
    unit_of = {who: unit(r @ weights[who][:, :-1].T + weights[who][:, -1] if layers else r) for who, r in rows.items()}
    queues = {"student": s["loss.teachers"], "teacher": s["loss.queue"]}   # what each is compared with
    c, z, loss = len(s["loss.queue"]) / IMAGES, list(s["loss.z"].flatten()), 0
    for i, (who, other) in enumerate((("student", "teacher"), ("teacher", "student"))):
        negative = (unit_of[who] @ queues[who].T / t).exp()
        if z[i] == 0:
            z[i] = negative.detach().mean() * len(queues[who])
        h = ((unit_of[who] * unit_of[other].detach()).sum(1) / t).exp() / z[i]
        loss = loss + ((1 + c / h).log() + (1 + negative / z[i] / c).log().sum(1)).mean()
    for side, who in enumerate(weights):
        g, = torch.autograd.grad(loss, weights[who], retain_graph=True)
        state[f"loss.{who}_velocity"] = v = 0.9 * s[f"loss.{who}_velocity"] + g + 1e-4 * s[f"loss.{who}"]
        state[f"loss.{who}"] = s[f"loss.{who}"] - LR * v
    state["loss.queue"], state["loss.pointer"] = push(s["loss.queue"], s["loss.pointer"], unit_of["student"])
    state["loss.teachers"], state["loss.teachers_pointer"] = push(s["loss.teachers"], s["loss.teachers_pointer"],
                                                                  unit_of["teacher"])
    return loss, {**state, "loss.z": torch.stack(z)[None]}


@transcription
def kd(x, p, s):
    t, a = p.get("T", 4), p.get("a", 0.9)
    kl = kl_div((x["q0"] / t).log_softmax(1), (x["t0"] / t).softmax(1).detach(), reduction="batchmean")
    return (1 - a) * ce(x, {}, s)[0] + a * t * t * kl, s


def relations(x):
    """Distances over the mean of those that are not 0, and the cosines of the angle at every triplet. Equal rows have no angle,
    and no slope at their distance of 0."""
    ways = x[None] - x[:, None]
    square = ways.square().sum(-1)
    d = torch.where(square > 0, torch.where(square > 0, square, 1).sqrt(), 0)
    ways = torch.where(d[:, :, None] > 0, ways / torch.where(d > 0, d, 1)[:, :, None], 0)
    return d / (d[d > 0].mean() if (d > 0).any() else 1), ways @ ways.transpose(1, 2)


@transcription
def rkd(x, p, s):
    d, angle = (smooth_l1_loss(a, b.detach()) for a, b in zip(relations(x["q0"]), relations(x["t0"])))
    return p.get("distance", 25) * d + p.get("angle", 50) * angle + (ce(x, {}, s)[0] if p.get("ce", 0) else 0), s
