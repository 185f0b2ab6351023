"""Whatever a stage refuses, the one who sent it is told, and one sentence on stderr says what was wrong: nobody waits, nobody
is silent."""
import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import augment_peer
import lines
import msgpack
import numpy as np
from lines import Line, check, folder, handles, images, until
from peer import Client, Record, Server, pack, receive
from test_faults import (AUGMENT, ENCODE, LOSS, Script, augment_schema, batch, ending, fault_of, raw_client, refused_by_encode,
                         schema, start)

OPEN = {"kind": "open", "scalars": {"version": 1, "role": "test", "command": "test"}}


def scalars(kind, **more):
    return {"kind": kind, "scalars": more}


def opened(*headers):
    """Frames of an open and what follows."""
    return [[msgpack.packb(OPEN)]] + [[h if isinstance(h, bytes) else msgpack.packb(h)] for h in headers]


STRANGE = {
    "a command of 1100 bytes": ([[msgpack.packb(scalars("open", version=1, role="test", command=1100 * "x"))]], "command"),
    "noise": ([[b"\xc1 noise"]], "MessagePack"),
    "a want before the open": ([pack(Record("want", {"step": 0}, names=["view0"]))], "before 'open'"),
    "another version": ([[msgpack.packb(scalars("open", version=9, role="test"))]], "version"),
    "no version": ([[msgpack.packb(scalars("open", role="test"))]], "version"),
    "nil": (opened(scalars("want", step=None)), "None"),
    "bytes": (opened(scalars("want", step=b"0")), "bin"),
    "bytes after the map": (opened(msgpack.packb(scalars("want", step=0)) + b"\x00\x00"), "2 bytes follow"),
    "half a map": (opened(msgpack.packb(scalars("want", step=0))[:-1]), "cut short"),
    "a dtype of another kind": (opened({"kind": "grad", "tensors": [["d:q0", "f64", [1]]]}), "f64"),
    "a tensor twice": (opened({"kind": "grad", "tensors": [["d:q0", "f32", [0]], ["d:q0", "f32", [0]]]}), "twice"),
    "a name twice": (opened({"kind": "want", "scalars": {"step": 0}, "names": ["view0", "view0"]}), "twice"),
    "a second open": (opened(OPEN), "'open' out of turn"),
    "a schema": (opened(scalars("schema", version=1)), "'schema' out of turn"),
    "a step as text": (opened(scalars("want", step="0")), "'step' as an integer"),
    "a step as a float": (opened(scalars("want", step=0.0)), "'step' as an integer"),
    "no step": (opened(scalars("want", part=0)), "'step' as an integer"),
    "a part as text": (opened(scalars("want", step=0, part="0")), "'part' as an integer"),
    "a part without rows": (opened(scalars("want", step=0, part=0, parts=100)), "no rows"),
    "a gradient": (opened(scalars("grad", step=0)), "not trained"),
    "a trillionth part": (opened(scalars("want", step=0, part=0, parts=10**12)), "parts"),
    "twenty facts": ([[msgpack.packb({"kind": "open", "scalars": {**OPEN["scalars"], **{f"fact.x{i}": i for i in range(20)}}})]],
                     "facts"),
}


def last_word(socket):
    """The fault that comes, or None; other answers are passed over."""
    with contextlib.suppress(TimeoutError):
        while True:
            heard = msgpack.unpackb(receive(socket, 10)[0])
            if heard["kind"] == "fault":
                return heard["scalars"]
    return None


def test_strange_clients(d):
    """Each beside a good client, which is served on."""
    line, ticket = start(d, AUGMENT + ["--patience", "5", "data"])
    keep = Client(ticket, "test")
    keep.open()
    for n, (name, (messages, part)) in enumerate(STRANGE.items()):
        socket = raw_client(ticket)
        for frames in messages:
            socket.send_multipart(frames)
        fault = last_word(socket)
        check(f"augment given {name}: the client is told", fault and fault["code"] == 1 and fault["said"]
              and part in fault["sentence"], fault)
        check(f"augment given {name}: it is said once", len(line.words) == n + 1 and part in line.words[-1], line.words[n:])
        socket.close(linger=0)
    keep.want(0, ["view1"])
    check("the other client is served on", keep.take().tensors["view1"].shape == (8, 32, 32, 3))
    keep.close()
    line.wait(20)
    check("and augment ends well", line.code == 0, line.code)


def test_strange_pupils(d):
    """What the stage in front would refuse is refused to the one who asks, and the others are served on."""
    line, ticket = start(d, AUGMENT + ["data"], ENCODE[:-1] + ["--frozen"])
    keep = Client(ticket, "test")
    keep.open()
    cases = {"a step past the end": ({"step": 10**9}, "there are 10"), "a step before the first": ({"step": -1}, "there are 10"),
             "a part of none": ({"step": 0, "part": 0, "parts": 0}, "part 0 of 0"),
             "a part without rows": ({"step": 0, "part": 0, "parts": 9}, "8 rows"),
             "a part beyond": ({"step": 0, "part": 2, "parts": 2}, "part 2 of 2"), "a gradient": ({"step": 0}, "not trained")}
    for n, (name, (place, part)) in enumerate(cases.items()):
        client = Client(ticket, "pupil")
        client.open()
        client.send(Record("grad" if name == "a gradient" else "want", place, names=["feature0"]))
        fault = last_word(client.socket)
        check(f"a teacher asked for {name}: its client is told", fault and part in fault["sentence"]
              and len(line.words) == n + 1, f"{fault} {line.stderr}")
        client.socket.close(linger=0)
    keep.want(0, ["feature0"])
    check("the other one is served on", keep.take().tensors["feature0"].shape[0] == 8)
    keep.close()
    line.wait(20)
    check("and both end well", line.codes == [0, 0], f"{line.codes} {line.stderr}")


def test_lonely_clients(d):
    """The same from the only client ends the line."""
    for name in ("a second open", "a schema", "a step as text", "bytes after the map"):
        messages, part = STRANGE[name]
        line, ticket = start(d, AUGMENT + ["--patience", "5", "data"])
        socket = raw_client(ticket)
        for frames in messages:
            socket.send_multipart(frames)
        fault = last_word(socket)
        ending(f"augment given {name} by its only client", line, 1, 1, part)
        check(f"augment given {name} by its only client: it is told", fault and part in fault["sentence"], fault)
        socket.close(linger=0)


def test_many_clients(d):
    """A server outlives any number of clients, one after the other."""
    line, ticket = start(d, AUGMENT + ["data"])
    keep = Client(ticket, "test")
    keep.open()
    seen = 0
    for _ in range(300):
        client = Client(ticket, "test", patience=20)
        seen += client.open().scalars["stage"] == "augment"
        client.close()
    check("300 clients are answered, one after the other", seen == 300, seen)
    keep.close()
    line.wait(20)
    check("and augment ends well", line.code == 0 and not line.words, f"{line.code} {line.stderr}")


def gradient(client, d, name="q0", times=1, **more):
    client.want(0, ["q0", "k1"])
    q = client.take().tensors["q0"]
    for _ in range(times):
        client.send(Record("grad", {"step": 0, "incarnation": client.schema.scalars["incarnation"], "loss": 1.0, **more},
                           {f"d:{name}": np.zeros_like(q), "d:q0": np.zeros_like(q) if d is None else d}))
    client.want(1, ["q0", "k1"])
    client.take()


def no_want(client):
    client.want(0, ["q0", "k1"])
    q = client.take().tensors["q0"]
    client.grad(0, {"q0": np.zeros_like(q)}, {"loss": 0.0})
    client.grad(1, {"q0": np.zeros_like(q)}, {"loss": 0.0})
    client.take()


def one_nan(client):
    client.want(0, ["q0", "k1"])
    q = np.zeros_like(client.take().tensors["q0"])
    q[3, 1] = np.nan
    client.grad(0, {"q0": q}, {"loss": 0.0})
    client.take_any()


def test_strange_losses(d):
    integers = np.zeros((8, 16), "<i4")
    refused_by_encode("one gradient that is not finite", d, one_nan, 1, "sent 1 value in 'd:q0' of step 1 that is not finite")
    refused_by_encode("a gradient twice", d, lambda c: gradient(c, None, times=2), 1,
                      "sent 'grad' of step 1 where its want of step 2")
    refused_by_encode("a gradient in place of a want", d, no_want, 1, "sent 'grad' of step 2 where its want of step 2")
    refused_by_encode("a gradient of integers", d, lambda c: gradient(c, integers), 1, "i32[8,16], but 'q0' is f32[8,16]")
    refused_by_encode("a gradient of what is not trained", d, lambda c: gradient(c, None, "k1"), 1, "d:k1")
    refused_by_encode("a loss that is nan", d, lambda c: gradient(c, None, loss=float("nan")), 1, "'loss'")
    refused_by_encode("a loss that is a text", d, lambda c: gradient(c, None, loss="low"), 1, "'loss'")


def test_faults():
    """Codes are 1 to 255, and a fault that nobody has said is said."""
    fault = lambda code, **more: pack(Record("fault", {"code": code, "sentence": "it rained in", **more}))
    with folder() as d:
        for code, exits in ((0, 1), (256, 1), (300, 1), (-1, 1), (255, 255)):
            ending(f"a fault of code {code}", Script(LOSS, [pack(schema()), fault(code)], d).line, exits, 1, "it rained in",
                   "'encode'")
        ending("a fault that was said", Script(LOSS, [pack(schema()), fault(9, said=True)], d).line, 9, 0)
        ending("an end of code 256", Script(LOSS, [pack(schema()), pack(Record("end", {"code": 256}))], d).line, 1, 0)
        ending("a fault ticket of code 0: its whole line is shown", Line(["printf", "sprat1 fault 0 hi\\n"], LOSS, cwd=d), 2, 1,
               "'sprat1 fault 0 hi'")
        ending("a ticket without its end of line", Line(["printf", "sprat1 fault 7 hi"], LOSS, cwd=d), 7, 0)


def test_client_fault(d):
    """A naive loss that sends a fault and says nothing itself."""
    line, ticket = start(d, AUGMENT + ["data"], ENCODE + ["faulty"])
    client = Client(ticket, "loss")
    client.open(loss="test")
    client.send(Record("fault", {"code": 7, "sentence": "no memory left"}))
    line.wait(20)
    check("a client's fault is said, once in the line", line.codes == [7, 7] and len(line.words) == 1
          and "the 'loss' stage" in line.stderr and
          "no memory left" in line.stderr, f"{line.codes} {line.stderr}")
    client.socket.close(linger=0)


# --- servers ---


def test_strange_schemas():
    good = schema()
    bare = Record("schema", {k: v for k, v in good.scalars.items() if k != "incarnation"}, {}, good.offers)
    cases = {"trained without an incarnation": (LOSS, [pack(bare)], "incarnation"),
             "a first step before the first": (LOSS, [pack(schema(first_step=-3))], "first_step"),
             "a seed that is no integer": (LOSS, [pack(schema(**{"fact.seed": 1.5}))], "fact.seed"),
             "steps as a text": (LOSS, [pack(schema(**{"fact.steps": "9"}))], "fact.steps"),
             "a batch that comes twice": (LOSS, [pack(schema()), pack(batch(0)), pack(batch(0))], "step 1"),
             "a batch without a step": (LOSS, [pack(schema()), [msgpack.packb({"kind": "batch"})]], "'step'")}
    front = {"a front stage that is trained, without an image": ([pack(schema())], 1, "views"),
             "108 facts": ([augment_schema(**{f"x{i}": i for i in range(90)})], 1, "facts"),
             "facts of 20 kilobytes": ([augment_schema(**{f"x{i}": 900 * "x" for i in range(19)})], 1, "facts"),
             "a size that its views have not": ([augment_schema(size=64)], 1, "size = 64, but its views are 32x32"),
             "256 names": ([augment_schema({f"mask{i}": ("u8", (augment_peer.BATCH,)) for i in range(252)})], 1,
                           "more than 256 names"),
             "a schema twice": ([augment_schema(), augment_schema()], 1, "'schema' out of turn"),
             "fewer rows of one view": ([augment_schema(), uneven()], 1, "5 of 'view1'")}
    with folder() as d:
        for name, (command, answers, part) in cases.items():
            ending(f"loss behind an encode that gives {name}", Script(command, answers, d).line, 1, 1, part)
        for i, (name, (answers, code, part)) in enumerate(front.items()):
            line = Script(ENCODE + [f"front{i}"], answers, d, ["loss", "-q", "-j1", "moco:k=64"]).line
            check(f"encode behind an augment that gives {name}: one word, one code", line.codes == [code, code]
                  and len(line.words) == 1 and
                  part in line.stderr, f"{line.codes} {line.stderr}")


def uneven():
    n = augment_peer.SIZE
    picture = lambda rows: np.zeros((rows, n, n, 3), np.uint8)
    return pack(Record("batch", {"step": 0, "part": 0, "parts": 1, "epoch": 0},
                       {"view0": picture(augment_peer.BATCH), "view1": picture(5)}))


def own_facts(d, out, epoch, **facts):
    """A line of the peer's augment up to an epoch, and a loss with facts of its own: (its first step, the line)."""
    front = [sys.executable, f"{lines.ROOT}/tests/pipe/augment_peer.py", f"ipc://{d}/front"]
    # encode adds 15: the 64 that a loss takes over
    many = {f"own{i:02d}": 295 * "x" for i in range(49 - len(augment_peer.FACTS))}
    line = Line(front, ENCODE + [out, "--until", epoch], cwd=d, env=lines.environment(FACTS=json.dumps(many)),
                stdout=subprocess.PIPE)
    client = Client(line[1].stdout.readline().decode(), "loss", patience=20)
    step = first = client.open(**facts).scalars["first_step"]
    while True:
        client.want(step, ["q0"])
        batch = client.take()
        if batch is None:
            break
        client.grad(step, {"q0": np.zeros_like(batch.tensors["q0"])}, {"loss": 1.0})
        step += 1
    line.wait(20)
    return first, line


def test_full_facts(d):
    """As many facts as the page allows, with as long texts: a run has them all, and goes on with them."""
    for name, facts in (("a loss of twelve short facts, none of them its name", {f"mine{i}": i for i in range(12)}),
                        ("a loss of eleven long facts", {"loss": "full", **{f"mine{i}": 175 * "y" for i in range(11)}})):
        for epoch in "12":
            try:
                first, line = own_facts(d, f"full{len(name)}", epoch, **facts)
            except Exception as e:
                check(f"{name}, epoch {epoch}", False, e)
                continue
            check(f"{name}, epoch {epoch}", first == 10 * (int(epoch) - 1) and line.codes == [0, 0],
                  f"{first} {line.codes} {line.stderr}")


# --- signals ---


def signalled(name, line, part, number=signal.SIGTERM, after=0.5, seconds=15, words=1):
    until(lambda: handles(line[-1].pid, number))
    time.sleep(after)
    line.kill(-1, sig=number)
    began = time.monotonic()
    line[-1].wait(seconds)
    check(f"{name}: one signal is enough", line[-1].returncode == 128 + number and time.monotonic() - began < seconds
          and part in line.stderr and
          len(line.words) == words, f"{line[-1].returncode} after {time.monotonic() - began:.1f} s, {line.stderr}")
    line.wait(5)


def test_signals(d):
    patient = [x if x != "3" else "600" for x in LOSS]
    noisy = [x for x in patient if x != "-q"]
    where = "sprat1 encode tcp://127.0.0.1:1"
    signalled("loss with a ticket that leads nowhere", Line(["printf", f"{where}\\n"], patient, cwd=d), "tcp://127.0.0.1:1")
    signalled("loss that waits for a ticket", Line(["sleep", "30"], noisy, cwd=d), "ticket", words=0)
    server = Server("encode")
    line = Line(patient + ["--from", server.ticket], cwd=d)
    receive(server.socket, 10)
    signalled("loss that waits for a schema", line, "'encode'", after=0)
    line = Line(["probe", "-q", "-j1", "--on", "view", "knn", "--from", server.ticket], cwd=d)
    who = receive(server.socket, 10)[0]
    server.socket.send_multipart([who] + evaluation())
    receive(server.socket, 10)
    signalled("probe that waits for a batch", line, "'encode'", after=0)
    server.close()


def evaluation():
    """A schema of an evaluation of one batch."""
    s = augment_peer.schema()
    s.scalars.update({"fact.eval": True, "fact.steps": 1, "fact.steps_per_epoch": 1, "fact.samples": augment_peer.BATCH})
    s.offers = {**s.offers, "split": ("i32", (augment_peer.BATCH,))}
    return pack(s)


def test_hint(d):
    """encode with a loss that hangs: it waits, for the step to be saved, and says how not to."""
    encode = [x for x in ENCODE if x != "-q"]
    line = Line(AUGMENT[:-4] + ["--epochs", "1000", "data"], encode + ["stuck"], LOSS, cwd=d)
    until(lambda: line.steps() >= 2 or line[-1].poll() is not None)
    line.kill(2, sig=signal.SIGSTOP)
    time.sleep(0.5)
    line.kill(1, sig=signal.SIGTERM)
    until(lambda: "once more" in line.stderr, 20)
    check("encode whose loss hangs says that a second signal ends it",
          "# encode: ends after this step; once more: at once" in line.stderr and
          line[1].poll() is None, line.stderr)
    line.kill(1, sig=signal.SIGTERM)
    line[1].wait(10)
    check("and it does", line[1].returncode == 143, line[1].returncode)
    line.kill(2, sig=signal.SIGCONT)
    line.wait(20)


if __name__ == "__main__":
    test_faults()
    test_strange_schemas()
    with folder() as d:
        images(f"{d}/data", 40)
        test_strange_clients(d)
        test_strange_pupils(d)
        test_lonely_clients(d)
        test_many_clients(d)
        test_strange_losses(d)
        test_client_fault(d)
        test_full_facts(d)
        test_signals(d)
        test_hint(d)
    lines.done()
