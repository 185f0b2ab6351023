"""What a stage says and does when its neighbour breaks the rules of wire.5, fails, or dies: one sentence in the whole line, the
documented code, and never a crash."""
import contextlib
import signal
import subprocess
import time

import augment_peer
import lines
import msgpack
import numpy as np
import zmq
from lines import Line, check, folder, images, until
from peer import Client, Fault, Record, Refused, Server, pack, receive

ROWS, DIM = 16, 8
NOISE = np.random.default_rng(5).normal(0, 1, (ROWS, DIM)).astype(np.float32)
AUGMENT = ["augment", "-q", "-j1", "--size", "32", "--recipe", "moco-cifar", "--batch", "8", "--epochs", "2", "-s", "1"]
ENCODE = ["encode", "-q", "-j1", "-a", "mobilenet_v3_small", "--small", "--dim", "16", "--patience", "3", "-o"]
LOSS = ["loss", "-q", "-j1", "--patience", "3", "moco:k=32"]


def ending(name, line, code, words, *parts, seconds=20):
    """One check: status, number of sentences, and what the sentence holds."""
    line.wait(seconds)
    said = line.words
    check(name, line.code == code and len(said) == words and all(p in line.stderr for p in parts),
          f"status {line.code}, said {line.stderr!r}")


# --- tickets ---


def test_tickets():
    cases = [("a fault ticket", "sprat1 fault 7 the disk is full\\n", 7, 0), ("no ticket at all", "", 3, 1),
             ("text that is no ticket", "hello\\n", 2, 1), ("a ticket of another version", "sprat2 encode ipc:///tmp/x\\n", 2, 1),
             ("a ticket without an endpoint", "sprat1 encode\\n", 2, 1),
             ("a ticket with an unknown word", "sprat1 encode ipc:///x y=1\\n", 2, 1),
             ("a ticket with a short key", "sprat1 encode tcp://127.0.0.1:9 curve=abc\\n", 2, 1),
             ("a line of 600 bytes", "sprat1 encode ipc:///" + 600 * "x" + "\\n", 2, 1),
             ("a fault without a code", "sprat1 fault x\\n", 2, 1),
             ("a fault of code 0", "sprat1 fault 0 fine\\n", 2, 1),
             ("a socket that nobody serves", "sprat1 encode ipc:///tmp/no/such/socket\\n", 3, 1)]
    with folder() as d:
        for name, text, code, words in cases:
            ending(name, Line(["printf", text], LOSS, cwd=d), code, words)
        line = Line(["printf", "sprat1 fault 7 the disk is full\\n"], ["encode", "-a", "resnet18", "-o", "run"], LOSS, cwd=d)
        ending("a fault ticket goes through the line", line, 7, 0)
        check("with its code at every stage", line.codes[1:] == [7, 7], line.codes)


# --- a server that misbehaves ---


def schema(**more):
    scalars = {"version": 1, "incarnation": 1, "stage": "encode", "trained": True, "first_step": 0, "fact.seed": 1,
               "fact.steps": 9,
               "fact.batch": ROWS, **more}
    return Record("schema", scalars, {}, {n: ("f32", (ROWS, DIM)) for n in ("q0", "k1")})


def batch(step, **tensors):
    return Record("batch", {"step": step, "part": 0, "parts": 1, "epoch": 0, "lr": 0.1, "save": False},
                  {"q0": NOISE, "k1": NOISE[::-1], **tensors})


def frames(header, *rest):
    return [msgpack.packb(header)] + list(rest)


class Script:
    """Plays the server for one client: answers the n-th message by answers[n] (list of frames), then falls silent, and after
    three seconds goes. heard: what else came."""

    def __init__(self, command, answers, cwd, *behind):
        self.server = Server("encode")
        self.line = Line(command + ["--from", self.server.ticket], *behind, cwd=cwd)
        for answer in answers:
            with contextlib.suppress(TimeoutError):
                who = receive(self.server.socket, 5)[0]
                self.server.socket.send_multipart([who] + answer)
        until(lambda: all(p.poll() is not None for p in self.line.procs), 3)
        self.heard = []
        with contextlib.suppress(TimeoutError):
            while True:
                self.heard.append(msgpack.unpackb(receive(self.server.socket, 0.2)[1]))
        self.server.close()
        self.line.wait(20)


def test_bad_servers():
    good, step0 = pack(schema()), pack(batch(0))
    raw = NOISE.tobytes()
    spec = lambda name, dtype="f32", shape=(ROWS, DIM): [name, dtype, list(shape)]
    head = lambda *specs: {"kind": "batch", "scalars": {"step": 0, "part": 0, "parts": 1}, "tensors": list(specs)}
    nan = NOISE.copy()
    nan[3, 1] = np.nan
    cases = [
        ("a schema of another version", [pack(schema(version=2))], 1, "version"),
        ("a server that trains nothing", [pack(schema(trained=False))], 2, "trained"),
        ("a header that is noise", [[b"\xc1\xff noise"]], 1, "refused"),
        ("a header of 100 KiB", [good, [b"\xa0" * 100000]], 1, "refused"),
        ("a frame too short", [good, frames(head(spec("q0"), spec("k1")), raw, raw[:-4])], 1, "refused"),
        ("a frame too many", [good, frames(head(spec("q0")), raw, raw)], 1, "refused"),
        ("a frame too few", [good, frames(head(spec("q0"), spec("k1")), raw)], 1, "refused"),
        ("an answer to another step", [good, pack(batch(4))], 1, "step"),
        ("a tensor that was not sent", [good, frames(head(spec("q0")), raw)], 1, "k1"),
        ("a tensor that was not asked for", [good, pack(batch(0, q1=NOISE))], 1, "sent 3 tensors in step 1, and was asked for 2"),
        ("a tensor of another shape", [good, pack(batch(0, k1=NOISE[:4]))], 1, "k1"),
        ("a tensor of another type", [good, pack(batch(0, k1=NOISE.view("<i4")))], 1, "k1"),
        ("values that are not finite", [good, pack(batch(0, q0=nan))], 1, "step 1"),
        ("a schema in place of a batch", [good, good], 1, "schema"),
        ("offers without what is needed", [pack(Record("schema", schema().scalars, {}, {"q0": ("f32", (ROWS, DIM))}))], 2, "k1"),
        ("a batch that does not divide the queue",
         [pack(Record("schema", schema().scalars, {}, {n: ("f32", (12, DIM)) for n in ("q0", "k1")}))],
         2, "multiple"),
    ]
    with folder() as d:
        for name, answers, code, part in cases:
            play = Script(LOSS, answers, d)
            ending(name, play.line, code, 1, part)
            check(f"{name}: the server is told", any(m["kind"] == "fault" and m["scalars"]["code"] == code for m in play.heard),
                  play.heard)
        fault = pack(Record("fault", {"code": 41, "sentence": "the network has melted", "said": True}))
        for name, answers in (("a fault in place of a schema", [fault]), ("a fault in place of a batch", [good, fault])):
            ending(name, Script(LOSS, answers, d).line, 41, 0)
        ending("an end at once", Script(LOSS, [good, pack(Record("end", {"code": 0}))], d).line, 0, 0)
        ending("an end with a code", Script(LOSS, [good, pack(Record("end", {"code": 130}))], d).line, 130, 0)
        vanish(d, good, step0)


def augment_schema(offers=None, **facts):
    s = augment_peer.schema()
    s.scalars.update({f"fact.{k}": v for k, v in facts.items()})
    s.offers = {**s.offers, **(offers or {})}
    return pack(s)


def views(rows=augment_peer.BATCH, size=augment_peer.SIZE, dtype=np.uint8, step=0, channels=3):
    picture = np.zeros((rows, size, size, channels), dtype)
    return pack(Record("batch", {"step": step, "part": 0, "parts": 1, "epoch": 0}, {"view0": picture, "view1": picture}))


def test_bad_augments():
    """encode | loss behind a server that says impossible things."""
    b, n = augment_peer.BATCH, augment_peer.SIZE
    schemas = {"a batch of nothing": {"batch": 0}, "a batch of less": {"batch": -8}, "no steps an epoch": {"steps_per_epoch": 0},
               "a batch that the views do not have": {"batch": 9}, "steps of less than nothing": {"steps": -1, "epochs": -1},
               "a mean of two numbers": {"mean": "0.5,0.5"}, "a mean of words": {"mean": "light,grey,dark"},
               "no std": {"std": ""},
               "a std of zero": {"std": "0,0,0"}, "no views": {"views": 0}, "a thousand views": {"views": 1000},
               "a view of one channel": {"offers": {"view0": ("u8", (b, n, n, 1))}},
               "a view of floats": {"offers": {"view0": ("f32", (b, n, n, 3))}},
               "a flat view": {"offers": {"view0": ("u8", (b, n * n * 3))}},
               "a view of no height": {"offers": {"view0": ("u8", (b, 0, n, 3))}},
               "a view of two gigapixels": {"offers": {"view0": ("u8", (b, 46340, 46340, 3)),
                                                       "view1": ("u8", (b, 46340, 46340, 3))}}}
    batches = {"fewer rows": views(rows=3), "more rows": views(rows=40), "smaller views": views(size=16),
               "larger views": views(size=64),
               "views of integers": views(dtype=np.int32), "views of four channels": views(channels=4),
               "another step": views(step=1),
               "no views": pack(Record("batch", {"step": 0, "part": 0, "parts": 1, "epoch": 0}))}
    with folder() as d:
        for i, (name, answers) in enumerate([(n, [augment_schema(**s)]) for n, s in schemas.items()] +
                                            [(n, [augment_schema(), b]) for n, b in batches.items()]):
            play = Script(ENCODE + [f"run{i}"], answers, d, ["loss", "-q", "-j1", "moco:k=64"])
            own = play.line.words and play.line.words[0].startswith("encode: ") and "vanished" not in play.line.stderr
            sent = len(answers) == 1 or own
            check(f"encode behind an augment that gives {name}", len(play.line.words) == 1 and min(play.line.codes) > 0 and sent,
                  f"{play.line.codes} {play.line.stderr!r}")


def test_bad_encodes():
    """probe behind a server that says impossible things."""
    offers = {"feature0": ("f32", (8, 16)), "label": ("i32", (8,)), "split": ("i32", (8,)), "index": ("i64", (8,)),
              "name": ("u8", (8, 32))}
    kinds = {"f32": "<f4", "i32": "<i4", "i64": "<i8", "u8": "u1"}

    def greeting(offers=offers, **facts):
        s = {"version": 1, "incarnation": 1, "stage": "encode", "trained": False,
             **{f"fact.{k}": v for k, v in {**augment_peer.FACTS, "eval": True, "samples": 8, "steps": 1, "steps_per_epoch": 1,
                                            **facts}.items()}}
        return pack(Record("schema", s, {}, offers))

    def rows(**other):
        tensors = {n: np.zeros(shape, kinds[d]) for n, (d, shape) in offers.items()}
        tensors["split"][4:] = 1
        return pack(Record("batch", {"step": 0, "part": 0, "parts": 1, "epoch": 0}, {**tensors, **other}))

    cases = {"a training stream": [greeting(eval=False)],
             "no features": [greeting({n: o for n, o in offers.items() if n != "feature0"})],
             "no split": [greeting({n: o for n, o in offers.items() if n != "split"})],
             "flat features": [greeting({**offers, "feature0": ("f32", (8,))})],
             "features of integers": [greeting({**offers, "feature0": ("i32", (8, 16))})],
             "samples of less": [greeting(samples=-1)],
             "a trillion samples": [greeting(samples=10**12)],
             "features of no width": [greeting({**offers, "feature0": ("f32", (8, 0))})],
             "wider features than offered": [greeting(), rows(feature0=np.zeros((8, 17), "<f4"))],
             "fewer labels than features": [greeting(), rows(label=np.zeros(3, "<i4"))],
             "labels of 64 bits": [greeting(), rows(label=np.zeros(8, "<i8"))],
             "more rows than samples": [greeting(),
                                        rows(**{n: np.zeros((80, *shape[1:]), kinds[d]) for n, (d, shape) in offers.items()})],
             "features that are not finite": [greeting(), rows(feature0=np.full((8, 16), np.nan, "<f4"))],
             "a split of seven": [greeting(), rows(split=np.full(8, 7, "<i4"))],
             "labels beyond the classes": [greeting(), rows(label=np.full(8, 2**30, "<i4"))],
             "an end before the last step": [greeting(), pack(Record("end", {"code": 0}))]}
    with folder() as d:
        for name, answers in cases.items():
            play = Script(["probe", "-q", "-j1", "knn", "metrics"], answers, d)
            check(f"probe behind an encode that gives {name}", len(play.line.words) == 1 and play.line.code > 0,
                  f"{play.line.codes} {play.line.stderr!r}")


def vanish(d, *answers):
    server = Server("encode")
    line = Line(LOSS + ["--from", server.ticket], cwd=d)
    for answer in answers:
        who = receive(server.socket, 10)[0]
        server.socket.send_multipart([who] + answer)
    receive(server.socket, 10)
    server.close()
    began = time.monotonic()
    ending("a server that vanishes without a word", line, 3, 1, "vanished")
    check("is missed at once on a unix socket", time.monotonic() - began < 2, time.monotonic() - began)


def test_last_words():
    """What a server says right before it goes must arrive, however busy the client is: stopped here, so that both come at
    once."""
    last = {"fault": (Record("fault", {"code": 43, "sentence": "it rained in", "said": True}), 43),
            "end": (Record("end", {"code": 0}), 0)}
    for name, (record, code) in last.items():
        with folder() as d:
            server = Server("encode")
            line = Line(LOSS + ["--from", server.ticket], cwd=d)
            server.send(receive(server.socket, 10)[0], schema())
            who = receive(server.socket, 10)[0]
            line.kill(0, sig=signal.SIGSTOP)
            server.send(who, batch(0))
            server.send(who, record)
            time.sleep(0.3)
            server.close()
            time.sleep(0.5)
            line.kill(0, sig=signal.SIGCONT)
            ending(f"'{name}' is heard although its server has gone", line, code, 0)


# --- clients that misbehave ---

def fault_of(action):
    try:
        action()
    except Fault as f:
        return f
    except (TimeoutError, Refused):
        pass
    return None


def start(d, *commands):
    line = Line(*commands, cwd=d, stdout=subprocess.PIPE)
    return line, line[-1].stdout.readline().decode()


def raw_client(ticket):
    s = zmq.Context.instance().socket(zmq.DEALER)
    s.connect(ticket.split()[2])
    return s


def strange_wants(ticket, wants):
    """Each by a client of its own, as the first want. Gives the faults; the server of untrained data must live through all."""
    faults = {}
    for name, (step, part, parts, names) in wants.items():
        client = Client(ticket, "test", patience=10)
        client.open()
        client.want(step, names, part, parts)
        faults[name] = fault_of(client.take)
        client.socket.close(linger=0)
    return faults


def test_bad_clients_of_augment(d):
    bad = {"a view too many": (0, 0, 1, ["view7"]), "a name nobody makes": (0, 0, 1, ["q0"]), "no name": (0, 0, 1, []),
           "a step after the last": (10**9, 0, 1, ["view0"]), "a step before the first": (-1, 0, 1, ["view0"]),
           "part 2 of 2": (0, 2, 2, ["view0"]), "part of nothing": (0, 0, 0, ["view0"]), "part -1": (0, -1, 2, ["view0"]),
           "part 2^40 of 2^41": (0, 2**40, 2**41, ["view0"])}
    for name, want in bad.items():
        line, ticket = start(d, AUGMENT + ["--patience", "5", "data"])
        fault = strange_wants(ticket, {name: want})[name]
        line.wait(10)
        check(f"augment asked for {name}", (fault is not None or name == "no name") and line.code not in (None, 134, 136, 139),
              f"fault {fault}, status {line.code}, {line.stderr}")


def refused_by_encode(name, d, play, code, part):
    """play(client) brings encode to refuse; its checkpoint of the step before must stay."""
    line, ticket = start(d, AUGMENT + ["data"], ENCODE + [name.replace(" ", "-")])
    client = Client(ticket, "loss", patience=30)
    client.open(loss="test")
    fault = fault_of(lambda: play(client))
    client.socket.close(linger=0)
    line.wait(10)
    check(f"encode given {name}", fault is not None and fault.code == code and part in fault.sentence and line.codes[1] == code
          and len(line.words) == 1, f"{fault}, {line.codes}, {line.stderr!r}")


def one_step(client, gradient=None, d_step=0, incarnation=0, name="q0"):
    client.want(0, ["q0", "k1"])
    b = client.take()
    g = np.zeros_like(b.tensors["q0"]) if gradient is None else gradient
    client.send(Record("grad", {"step": d_step, "incarnation": client.schema.scalars["incarnation"] + incarnation, "loss": 1.0},
                       {f"d:{name}": g}))
    client.want(1, ["q0", "k1"])
    client.take()


def other_names(client, first, then):
    """A second want that names something else than the first."""
    client.want(0, first)
    b = client.take()
    client.grad(0, {"q0": np.zeros_like(b.tensors["q0"])}, {"loss": 0.0})
    client.want(1, then)
    client.take()


def wanted(client, *args):
    client.want(*args)
    client.take()


def test_bad_clients_of_encode(d):
    nan = np.full((8, 16), np.nan, np.float32)
    refused_by_encode("a wrong step", d, lambda c: wanted(c, 3, ["q0"]), 1, "step")
    refused_by_encode("a name nobody gives", d, lambda c: wanted(c, 0, ["t0"]), 2, "t0")
    refused_by_encode("a gradient of another step", d, lambda c: one_step(c, d_step=4), 1, "gradient")
    refused_by_encode("a gradient for another incarnation", d, lambda c: one_step(c, incarnation=1), 1, "another")
    refused_by_encode("a gradient of another shape", d, lambda c: one_step(c, np.zeros((8, 5), np.float32)), 1, "shape")
    refused_by_encode("a gradient that is not finite", d, lambda c: one_step(c, nan), 1, "step 1")
    refused_by_encode("no gradient at all", d, lambda c: one_step(c, name="q9"), 1, "d:q0")
    refused_by_encode("half a step", d, lambda c: wanted(c, 0, ["q0", "k1"], 1, 2), 1, "part")
    refused_by_encode("no name", d, lambda c: wanted(c, 0, []), 1, "name")
    refused_by_encode("more names than before", d, lambda c: other_names(c, ["q0"], ["q0", "k1"]), 1, "name")
    refused_by_encode("other names than before", d, lambda c: other_names(c, ["q0", "k1"], ["q0", "label"]), 1, "name")


def test_second_loss(d):
    line, ticket = start(d, AUGMENT + ["data"], ENCODE + ["two"])
    first, second = Client(ticket, "loss"), Client(ticket, "loss")
    first.open()
    fault = fault_of(second.open)
    check("a second loss is refused", fault is not None and fault.code == 1 and "loss" in fault.sentence, fault)
    first.want(0, ["q0", "k1"])
    check("while the first one goes on", first.take().tensors["q0"].shape == (8, 16))
    first.close()
    second.socket.close(linger=0)
    line.wait(20)
    check("a loss that leaves early ends the line with a word", line.codes[1] == 3 and len(line.words) == 1,
          f"{line.codes} {line.stderr}")


if __name__ == "__main__":
    test_tickets()
    test_bad_servers()
    test_last_words()
    test_bad_augments()
    test_bad_encodes()
    with folder() as d:
        images(f"{d}/data", 40)
        test_bad_clients_of_augment(d)
        test_bad_clients_of_encode(d)
        test_second_loss(d)
    lines.done()
