"""test_parts - a step of the real encode in parts, kept or streamed, against torchvision in float64

A peer in front serves known views part by part, a peer behind plays the loss with a known gradient. Queries are normalised by
parts, keys by groups of cells, as lib/nn/train/parts.h words it; the gradient is what the optimiser's momentum holds after the
first step. 13 rows do not divide by 4: nothing is even.
"""
import os
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "pipe"))
import augment_peer
import numpy as np
from lines import Line
from peer import Client, Record, Server

from net_case import DIM, Case, pictures, situation
from net_ct import MEAN, STD
from net_torch import normalised
from sprat_ct import check, done, safetensors_read, safetensors_write
from test_net import F32, F64, compare

import torch

PARTS, MOST = 4, 4
CASE = Case("mobilenet_v3_small", True, 32, parts=PARTS, batch=13, momentum=0.5)


def serve(server, columns, asked):
    """An augment of one step."""
    facts = {**augment_peer.FACTS, "batch": CASE.batch, "samples": CASE.batch, "size": CASE.size, "steps_per_epoch": 1,
             "epochs": 1, "steps": 1,
             "mean": ",".join(map(repr, MEAN.tolist())), "std": ",".join(map(repr, STD.tolist()))}
    kinds = {"uint8": "u8", "int64": "i64", "int32": "i32"}
    offers = {n: (kinds[str(a.dtype)], a.shape) for n, a in columns.items()}
    for who, r in server:
        if r.kind == "open":
            schema = augment_peer.schema()
            schema.scalars.update({f"fact.{k}": v for k, v in facts.items()})
            schema.offers = offers
            server.send(who, schema)
            continue
        part, parts = r.scalars["part"], r.scalars["parts"]
        asked.append((part, parts, tuple(r.names)))
        rows = slice(part * CASE.batch // parts, (part + 1) * CASE.batch // parts)
        server.send(who, Record("batch", {"step": 0, "part": part, "parts": parts, "epoch": 0},
                                {n: columns[n][rows] for n in r.names}))
    server.close()


def run(columns, weights, d_head, *options):
    """One step of encode: what the loss got, the checkpoint's tensors, and what encode asked for."""
    server, asked = Server("augment"), []
    thread = threading.Thread(target=serve, args=(server, columns, asked))
    thread.start()
    with tempfile.TemporaryDirectory() as d:
        safetensors_write(f"{d}/start.safetensors", weights)
        line = Line(["encode", "-q", "-j2", "-a", CASE.arch, "--small", "--head", CASE.head, "--dim", str(DIM), "-w",
                     "start.safetensors",
                     "--bn-momentum", str(CASE.momentum), "--ema", "1", "--optim", "sgd:lr=1e-3,momentum=0.9,wd=0", "-o", "run",
                     "--from", server.ticket, *options], cwd=d, stdout=subprocess.PIPE)
        client = Client(line[0].stdout.readline().decode(), "loss")
        client.open()
        client.want(0, ["q0", "feature0", "k1", "label", "index"])
        got = client.take().tensors
        client.grad(0, {"q0": d_head}, {"loss": 0.0}, {"loss.state": np.zeros(1, np.float32)})
        client.want(1, ["q0", "feature0", "k1", "label", "index"])
        client.take()
        client.close()
        line.wait(30)
        thread.join()
        check(f"one step with {' '.join(options)}", line.codes == [0], line.stderr)
        return got, safetensors_read(f"{d}/run/checkpoint.safetensors")[0], asked


def cells(parts=PARTS, batch=CASE.batch):
    """Rows of each key group: cell 0 of part g, cell 1 of part g - 1, ..."""
    count = min(parts, 8, batch // parts)
    cut = lambda k: list(range(k * batch // (parts * count), (k + 1) * batch // (parts * count)))
    return [sum((cut((g - c) % parts * count + c) for c in range(count)), []) for g in range(parts)]


def torch_key(weights, views, dtype):
    """(k, statistics): groups one after the other, the running statistics moved by their mean."""
    whole, k, sums = Case(**{**CASE.__dict__, "parts": 1, "momentum": 1.0}), np.zeros((CASE.batch, DIM)), {}
    for rows in cells():
        model = whole.reference(weights, dtype)
        with torch.no_grad():
            k[rows] = model(normalised(views[rows], dtype))[1].double().numpy()
        for n, a in model.named("statistics").items():
            sums[n] = sums.get(n, 0) + a / PARTS
    start = {n: np.ones_like(a) if n.endswith("var") else np.zeros_like(a) for n, a in sums.items()}
    return k, {f"key {n}": (1 - CASE.momentum) * start[n] + CASE.momentum * a for n, a in sums.items()}


def torch_step(weights, columns, d_head, dtype):
    model = CASE.reference(weights, dtype)
    feature, q = model(normalised(columns["view0"], dtype))
    (q * torch.from_numpy(d_head).to(dtype)).sum().backward()
    k, statistics = torch_key(weights, columns["view1"], dtype)
    return {"outputs": {"q0": q.detach().double().numpy(), "feature0": feature.detach().double().numpy(), "k1": k},
            "gradients": model.named("gradients"), "statistics": {**model.named("statistics"), **statistics}}


def ours(got, saved):
    strip = lambda prefix: {n[len(prefix):]: a for n, a in saved.items() if n.startswith(prefix)}
    running = lambda prefix, label: {label + n: a for n, a in strip(prefix).items() if "running_" in n}
    return {"outputs": {n: got[n] for n in ("q0", "feature0", "k1")}, "gradients": strip("optim.momentum."),
            "statistics": {**running("model.", ""), **running("key.", "key ")}}


def test_asked(whole, parts):
    check("a step that is kept is asked for once", [a[:2] for a in whole] == [(0, 1)] and
          set(whole[0][2]) == {"view0", "view1", "label", "index"}, whole)
    embedded, keys, again = parts[:PARTS], parts[PARTS:-PARTS], parts[-PARTS:]
    each = [(i, PARTS) for i in range(PARTS)]
    check("queries are asked for by parts, with what is passed on", [a[:2] for a in embedded] == each and
          all(set(a[2]) == {"view0", "label", "index"} for a in embedded), embedded)
    check("keys by cells, each once", sorted(a[:2] for a in keys) == [(i, len(keys)) for i in range(len(keys))] and
          len(keys) > PARTS and all(a[2] == ("view1",) for a in keys), keys)
    check("gradients by parts again", [a[:2] for a in again] == each and all(a[2] == ("view0",) for a in again), again)


def main():
    weights, views, (_, d_head, *_) = situation(CASE)
    draw = np.random.default_rng(8)
    columns = {"view0": views, "view1": pictures(draw, CASE), "label": draw.integers(0, 9, CASE.batch).astype(np.int32),
               "index": np.arange(CASE.batch) * 7}
    double, single = (torch_step(weights, columns, d_head, dtype) for dtype in (F64, F32))
    kept = run(columns, weights, d_head, "--bn-splits", str(PARTS))
    streamed = run(columns, weights, d_head, "--microbatch", str(MOST))
    for label, (got, saved, _) in (("kept", kept), ("streamed", streamed)):
        compare(CASE, label, ours(got, saved), single, double)
        check(f"parts, {label}: labels and numbers come through",
              all(np.array_equal(got[n], columns[n]) for n in ("label", "index")))
    check("kept or streamed: the same bytes", all(np.array_equal(kept[0][n], streamed[0][n]) for n in kept[0]) and
          list(kept[1]) == list(streamed[1]) and all(kept[1][n].tobytes() == streamed[1][n].tobytes() for n in kept[1]))
    test_asked(kept[2], streamed[2])
    return done()


if __name__ == "__main__":
    sys.exit(main())
