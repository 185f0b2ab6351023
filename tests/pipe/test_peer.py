"""The peer in every chair of a line: as loss, as augment, as encode, as reader."""
import os
import signal
import socket
import subprocess
import sys

import augment_peer
import lines
import numpy as np
from lines import BIN, Line, check, content, folder, images, json_lines, safetensors
from moco import Moco, philox4x32
from peer import Client, Record, Server, pack, unpack

# At usual rates an untrained network with BN multiplies a rounding error by ten and more a step (PyTorch's own, in float64 with
# gradients off by 1e-7, loses five digits in ten steps); at this rate fifty steps can be compared.
RATE = "sgd:lr=1e-4,momentum=0"
BATCH = 32
AUGMENT = ["augment", "-q", "-j1", "--size", "32", "--recipe", "moco-cifar", "--batch", str(BATCH), "--epochs", "10", "-s", "3",
           "data"]
ENCODE = ["encode", "-q", "-j1", "-a", "mobilenet_v3_small", "--small", "--dim", "32", "--optim", RATE, "-o", "run"]
STEPS, QUEUE, TEMPERATURE = 50, 256, 0.2
LOSS = ["loss", "-q", "-j1", f"moco:t={TEMPERATURE},k={QUEUE}"]


def distance(a, b):
    """Relative L2 over all floating tensors of two files."""
    names = [n for n in b if b[n].dtype == np.float32]
    difference = sum(float(((a[n].astype(np.float64) - b[n]) ** 2).sum()) for n in names)
    return (difference / sum(float((b[n].astype(np.float64) ** 2).sum()) for n in names)) ** 0.5


def parameters(tensors):
    """Without what BN has counted: that moves at any rate."""
    return {n: a for n, a in tensors.items() if "running_" not in n}


def test_codec():
    want = Record("want", {"step": 7, "part": 0, "parts": 1}, names=["view0", "view1"])
    example = ("83 a46b696e64 a477616e74 a77363616c617273 83 a473746570 07 a470617274 00 a57061727473 01"
               "a56e616d6573 92 a57669657730 a57669657731").replace(" ", "")
    check("the peer packs the manual's example", pack(want)[0].hex() == example, pack(want)[0].hex())
    r = unpack(pack(Record("batch", {"step": 1, "lr": 0.5, "save": True}, {"q0": np.ones((2, 3), np.float32)})))
    check("the peer reads what it packs", r.scalars == {"step": 1, "lr": 0.5, "save": True} and r.tensors["q0"].shape == (2, 3))
    words = [f"{int(w):08x}" for w in philox4x32(np.full(4, 0xFFFFFFFF, np.uint64), (0xFFFFFFFF, 0xFFFFFFFF))]
    check("the peer's Philox", words == ["408f276d", "41c83b0e", "a20bc7c6", "6d5451fd"], words)


# --- as encode: the loss alone, every gradient against numpy's ---


def serve_loss(server, first, last, dim, state, save_at):
    """A trained server without a network: noise as embeddings. Gives the grads it got."""
    rng, grads = np.random.default_rng(11), []
    noise = [{n: rng.normal(0, 1, (16, dim)).astype(np.float32) for n in ("q0", "k1")} for _ in range(last)]
    for who, r in server:
        step = r.scalars.get("step")
        if r.kind == "open":
            server.send(who, Record("schema",
                                    {"version": 1, "incarnation": -5, "stage": "encode", "trained": True, "first_step": first,
                                               "fact.seed": 2**40 + 9, "fact.steps": last, "fact.batch": 16}, state,
                                    {n: ("f32", (16, dim)) for n in ("q0", "q1", "k0", "k1")}))
        elif r.kind == "want" and step == last:
            server.send(who, Record("end", {"code": 0}))
        elif r.kind == "want":
            assert step == first + len(grads) and sorted(r.names) == ["k1", "q0"], (step, r.names)
            server.send(who, Record("batch",
                                    {"step": step, "part": 0, "parts": 1, "epoch": 0, "lr": 0.1, "save": step in save_at},
                                    noise[step]))
        else:
            assert step == first + len(grads) and r.scalars["incarnation"] == -5, r.scalars
            grads.append(r)
    return noise, grads


def drive_loss(d, first, last, state, save_at):
    server = Server("encode")
    ticket, (r, w) = server.ticket, os.pipe()
    loss = Line(LOSS + ["--from", ticket], cwd=d)
    os.close(r), os.close(w)
    result = serve_loss(server, first, last, 32, state, save_at)
    loss.wait(30)
    server.close()
    return loss, *result


def test_loss_alone():
    with folder() as d:
        loss, noise, grads = drive_loss(d, 0, 12, {}, {5, 11})
        ours, worst, value = Moco(2**40 + 9, QUEUE, 32, TEMPERATURE), 0, 0
        for batch, g in zip(noise, grads):
            gradient, scalars = ours.step(batch["q0"], batch["k1"])
            worst = max(worst, np.linalg.norm(g.tensors["d:q0"] - gradient) / np.linalg.norm(gradient))
            value = max(value, *(abs(g.scalars[k] - scalars[k]) / max(1e-3, abs(scalars[k])) for k in scalars))
        check("every gradient of loss is numpy's", loss.codes == [0] and len(grads) == 12 and worst < 1e-5,
              f"{worst} {loss.stderr}")
        check("loss, top1, top5 and std are numpy's", value < 1e-5, value)
        state = grads[-1].tensors
        check("the queue after 12 steps is numpy's", np.abs(state["loss.queue"] - ours.state()["loss.queue"]).max() < 1e-6 and
              state["loss.pointer"][0] == ours.pointer)
        sent = [sorted(n for n in g.tensors if n.startswith("loss.")) for g in grads]
        check("the state is sent when it is to be saved, else not",
              all(bool(names) == (i in (5, 11)) for i, names in enumerate(sent)), sent)
        rows = [r for r in json_lines(loss.stdout) if "step" in r]
        check("a line a step", [r["step"] for r in rows] == list(range(1, 13)), [r["step"] for r in rows])
        saved = {n: a for n, a in grads[5].tensors.items() if n.startswith("loss.")}
        again, _, rest = drive_loss(d, 6, 12, saved, {11})
        same = all(np.array_equal(a.tensors[n], b.tensors[n]) for a, b in zip(grads[6:], rest) for n in b.tensors)
        check("loss goes on from its saved state, bit for bit", again.codes == [0] and len(rest) == 6 and same, again.stderr)


# --- as loss: fifty steps of a real run ---


def play_loss(ticket, t=TEMPERATURE, size=QUEUE):
    client = Client(ticket, "loss")
    schema = client.open()
    step, steps = schema.scalars["first_step"], schema.scalars["fact.steps"]
    moco = Moco(schema.scalars["fact.seed"], size, schema.offers["q0"][1][1], t)
    if "loss.queue" in schema.tensors:
        moco.restore(schema.tensors)
    rows = []
    while True:
        client.want(step, ["q0", "k1"])
        batch = client.take()
        if batch is None:
            break
        gradient, scalars = moco.step(batch.tensors["q0"], batch.tensors["k1"])
        client.grad(step, {"q0": gradient}, scalars, moco.state() if batch.scalars["save"] else None)
        rows.append({"step": step + 1, **scalars})
        step += 1
    client.close()
    assert step == steps, (step, steps)
    return schema, rows


def run_with_peer(d, encode=ENCODE):
    line = Line(AUGMENT, encode, cwd=d, stdout=subprocess.PIPE)
    ticket = line[1].stdout.readline().decode()
    try:
        schema, rows = play_loss(ticket)
    finally:
        line.wait(60)
    return line, schema, rows


def test_as_loss():
    with folder() as a, folder() as b:
        images(f"{a}/data", 5 * BATCH)
        os.symlink(f"{a}/data", f"{b}/data")
        ours = Line(AUGMENT, ENCODE, LOSS, cwd=a).wait()
        check("50 steps with our loss", ours.codes == [0, 0, 0] and ours.steps() == STEPS, f"{ours.codes} {ours.stderr}")
        line, schema, rows = run_with_peer(b)
        check("50 steps with the peer as loss", line.codes == [0, 0] and len(rows) == STEPS, f"{line.codes} {line.stderr}")
        values = [r["loss"] for r in json_lines(ours.stdout) if "step" in r]
        gap = max(abs(x - y["loss"]) / x for x, y in zip(values, rows))
        check("the peer sees our loss's values", gap < 1e-4, gap)
        trained = [safetensors(f"{d}/run/model.safetensors")[0] for d in (a, b)]
        far = distance(*trained)
        check(f"and ends with our weights (relative L2 {far:.1e})", far < 1e-4, far)
        first = first_weights(a)
        learned, apart = distance(parameters(trained[0]), parameters(first)), distance(*map(parameters, trained))
        check(f"what they have learnt is the same (apart {apart:.1e}, learnt {learned:.1e})",
              apart < 0.03 * learned and learned > 5e-5)
        check("the schema tells the lineage", schema.text("lineage").split("\n")[0].startswith("augment ") and
              schema.text("lineage").split("\n")[1].startswith("encode "), schema.text("lineage"))
        check("and the facts", schema.scalars["fact.steps"] == STEPS and schema.scalars["fact.batch"] == BATCH and
              schema.scalars["fact.samples"] == 5 * BATCH and schema.scalars["fact.seed"] == 3, schema.scalars)
        again, _, rows = run_with_peer_when_finished(b)
        check("a finished run ends at once", again.codes == [0, 0] and rows == [], f"{again.codes} {again.stderr}")
        secure = run_secure(b)
        check("the same over tcp with CURVE", secure.codes == [0, 0], f"{secure.codes} {secure.stderr}")


def first_weights(d):
    """The weights of step 0: a run of one step at no learning rate."""
    encode = ENCODE[:-1] + ["first", "--optim", "sgd:lr=0,wd=0"]
    Line(AUGMENT, encode + ["--until", "1"], LOSS, cwd=d).wait()
    return safetensors(f"{d}/first/model.safetensors")[0]


def run_with_peer_when_finished(d):
    line = Line(AUGMENT, ENCODE, cwd=d, stdout=subprocess.PIPE)
    client = Client(line[1].stdout.readline().decode(), "loss")
    schema, rows = client.open(), []
    client.want(schema.scalars["first_step"], ["q0", "k1"])
    if client.take():
        rows.append("a batch after the last step")
    client.close()
    return line.wait(30), schema, rows


def run_secure(d):
    """Both links over tcp; encode's own ticket has a key that the peer must use."""
    line = Line(AUGMENT[:-1] + ["--bind", "tcp://127.0.0.1:*", "data"], ENCODE[:-1] + ["secure", "--until", "1", "--bind",
                "tcp://127.0.0.1:*"], cwd=d, stdout=subprocess.PIPE)
    ticket = line[1].stdout.readline().decode()
    check("a ticket for tcp has a key", " curve=" in ticket and "tcp://" in ticket, ticket)
    stranger = Client(ticket.split(" curve=")[0], "loss", patience=1)
    try:
        stranger.open()
        check("no key, no service", False, "a client without the key got a schema")
    except TimeoutError:
        check("no key, no service", True)
    stranger.socket.close(linger=0)
    client = Client(ticket, "loss")
    client.open()
    moco = Moco(3, QUEUE, 32, TEMPERATURE)
    for step in range(5):
        client.want(step, ["q0", "k1"])
        batch = client.take()
        gradient, scalars = moco.step(batch.tensors["q0"], batch.tensors["k1"])
        client.grad(step, {"q0": gradient}, scalars, moco.state() if batch.scalars["save"] else None)
    client.want(5, ["q0", "k1"])
    assert client.take() is None
    client.close()
    return line.wait(30)


# --- as augment: killed and started again in the middle ---


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start_peer(endpoint, *die_at):
    return subprocess.Popen([sys.executable, f"{lines.ROOT}/tests/pipe/augment_peer.py", endpoint, *map(str, die_at)],
                            stdout=subprocess.PIPE)


def run_from_peer(d, endpoint, die_at=None):
    peer = start_peer(endpoint, *([] if die_at is None else [die_at]))
    ticket = peer.stdout.readline().decode().strip()
    line = Line(ENCODE + ["--from", ticket], ["loss", "-q", "-j1", "moco:k=64"], cwd=d)
    if die_at is not None:
        peer.wait(60)
        died = peer.returncode
        peer = start_peer(endpoint)
        peer.stdout.readline()
    line.wait(60)
    status = peer.wait(10)
    return line, died if die_at is not None else status


def test_as_augment():
    with folder() as a, folder() as b:
        endpoint = f"tcp://127.0.0.1:{free_port()}"
        whole, status = run_from_peer(a, endpoint)
        check("20 steps with the peer as augment", whole.codes == [0, 0] and whole.steps() == 20 and status == 0,
              f"{whole.codes} {whole.stderr}")
        broken, status = run_from_peer(b, endpoint, 9)
        check("20 steps with the peer killed at the tenth", broken.codes == [0, 0] and broken.steps() == 20 and
              status == -signal.SIGKILL, f"{broken.codes} {status} {broken.stderr}")
        for name in ("checkpoint.safetensors", "model.safetensors"):
            check(f"the same {name}", content(f"{a}/run/{name}") == content(f"{b}/run/{name}"))
        check("nobody complained", not broken.words, broken.stderr)
        facts = safetensors(f"{a}/run/model.safetensors")[1]
        check("the peer's facts are the run's", "80-noise" in facts.values() and "noise" in facts.values(), facts)


# --- as reader ---


def read_all(ticket, names, role="probe"):
    client = Client(ticket, role)
    schema = client.open()
    steps, rows = schema.scalars["fact.steps"], {n: [] for n in names}
    for step in range(min(2, steps)):
        client.want(step, names)
    for step in range(steps):
        batch = client.take()
        for n in names:
            rows[n].append(batch.tensors[n])
        if step + 2 < steps:
            client.want(step + 2, names)
    halves = []
    for part in range(2):
        client.want(0, names, part, 2)
        halves.append(client.take().tensors)
    client.close()
    return schema, {n: np.concatenate(x) for n, x in rows.items()}, halves


def test_as_reader():
    with folder() as d:
        images(f"{d}/data/train", 40)
        images(f"{d}/data/test", 10, seed=2)
        Line(["augment", "-q", "--size", "32", "--batch", "8", "--epochs", "1", "data"], ENCODE, ["loss", "-q", "moco:k=64"],
             cwd=d).wait()
        names = ["feature0", "q0", "view0", "label", "split", "index", "name"]
        streams = []
        for jobs in ("-j1", "-j2"):
            line = Line(["augment", "-q", jobs, "--eval", "--size", "32", "--batch", "8", "data"],
                        ["encode", "-q", jobs, "--eval", "-w", "run/model.safetensors"], cwd=d, stdout=subprocess.PIPE)
            try:
                streams.append(read_all(line[1].stdout.readline().decode(), names))
            finally:
                line.wait(30)
            check(f"a reader leaves everybody content ({jobs})", line.codes == [0, 0] and not line.words,
                  f"{line.codes} {line.stderr}")
        schema, rows, halves = streams[0]
        n = len(rows["feature0"])
        check("every sample of both splits", n == 50 and sorted(rows["split"]) == [0] * 40 + [1] * 10, n)
        check("features have the network's width", rows["feature0"].shape[1] == schema.offers["feature0"][1][1] and
              np.isfinite(rows["feature0"]).all() and rows["feature0"].std() > 0, rows["feature0"].shape)
        stems = [bytes(x).split(b"\0")[0].decode() for x in rows["name"]]
        classes = schema.text("classes").split("\n")
        check("labels fit names", len(set(zip(stems, rows["split"]))) == 50 and
              all(f"{classes[c]}/" in s for c, s in zip(rows["label"], stems)), f"{stems[:3]} {classes}")
        check("half batches make a whole one", all(np.array_equal(np.concatenate([h[x] for h in halves]), rows[x][:8])
                                                   for x in ("label", "index", "view0", "name")))
        near = np.abs(np.concatenate([h["feature0"] for h in halves]) - rows["feature0"][:8]).max()
        check("also their features", near < 1e-5 * np.abs(rows["feature0"]).max(), near)
        check("two readings agree", all(np.array_equal(streams[1][1][x], rows[x]) for x in names if x not in ("feature0", "q0"))
              and np.allclose(streams[1][1]["feature0"], rows["feature0"], rtol=1e-4, atol=1e-5))


if __name__ == "__main__":
    test_codec()
    test_loss_alone()
    test_as_loss()
    test_as_augment()
    test_as_reader()
    lines.done()
