"""check_stage_serving.py - what wire.5 asks of a stage that serves, as check-stage's scenes"""
import os
import signal
import time

import numpy as np
import zmq

from check_stage_play import FACTS, REQUIRED, Process, Serving, check, expect, options
from sprat import DTYPES, Record

def check_ticket(stage):
    ticket = stage.ticket
    words = ticket.decode(errors="replace").rstrip("\n").split(" ")
    if words[:2] == ["sprat1", "fault"]:
        return check("it serves", False, " ".join(words[3:]))
    form = words[0] == "sprat1" and len(words) in (3, 4) and all(w.startswith("curve=") for w in words[3:])
    return check("standard output begins with its ticket", ticket.endswith(b"\n") and len(ticket) < 512 and form,
                 f"{ticket[:100]!r}{stage.process.last_words() or '; other words belong on standard error'}", "TICKET")


def check_schema(r, ticket):
    s = r.scalars
    check("open is answered by a schema", r.kind == "schema", f"{r.kind} {s}", "open and schema")
    check("version, incarnation and stage are in it, and no trained = true",
          s.get("version") == 1 and type(s.get("incarnation")) is int and
          s.get("stage") == ticket.decode().split()[1] and s.get("trained", False) is False, s, "open and schema")
    bad = [n for n in REQUIRED if type(s.get(f"fact.{n}")) is not int or s[f"fact.{n}"] < 1]
    check("facts: views, batch, steps, steps_per_epoch", not bad, f"{bad} missing, or no whole numbers above 0", "RUN FACTS")
    if options.place == "middle":
        changed = [n for n, v in FACTS.items() if s.get(f"fact.{n}") != v]
        check("facts of the stage in front are repeated", not changed, f"{changed} are not", "RUN FACTS")
    lineage = r["lineage"].tobytes().decode(errors="replace").split("\n") if "lineage" in r.tensors else []
    expected = 3 if options.place == "middle" else 2
    check("lineage: a line a stage, its own last", len(lineage) == expected and lineage[-1] == "" and lineage[-2] != "", lineage,
          "open and schema")
    batch, odd = s.get("fact.batch"), [n for n, o in r.offers.items() if o[0] not in DTYPES or len(o) < 2
                                       or o[1] != s.get("fact.batch")]
    check("offers: dtypes of the wire, the batch first", r.offers and not odd, f"{odd or 'none'}; batch is {batch}",
          "open and schema")
    view = r.offers.get("view0", ("",))
    check("view0 is u8 [B,h,w,3]", view[0] == "u8" and len(view) == 5 and view[4] == 3, view, "NAMES")
    return not bad and not odd and bool(r.offers)


def same(a, b):
    told = [{n: (x.dtype, x.shape, x.tobytes()) for n, x in r.tensors.items()} for r in (a, b)]
    return told[0] == told[1]


def alike(a, b):
    """Integers alike; floats but for rounding, since products of fewer rows may add up in another order: bf16's is still far
    less than rows differ by, f32's is so small that of a network which tells no rows apart nothing more can be asked."""
    def near(x, y):
        if np.array_equal(x, y):
            return True
        return x.dtype.kind == "f" and np.abs(x - y).max() <= max(0.05 * np.abs(y - y.mean(0)).max(), 1e-5 * np.abs(y).max())

    return a.keys() == b.keys() and all(a[n].shape == b[n].shape and near(a[n], b[n]) for n in a)


def check_answers(stage, client, schema):
    names, batch, steps = list(schema.offers), schema["fact.batch"], schema["fact.steps"]
    expect("a want is answered by a batch", "want and batch")
    first = stage.ask(client, 0, names)
    if not check("a want is answered by a batch", first.kind == "batch", f"{first.kind} {first.scalars}", "want and batch"):
        return
    s = first.scalars
    check("with its step, part and parts, and the epoch",
          (s.get("step"), s.get("part"), s.get("parts"), s.get("epoch")) == (0, 0, 1, 0), s, "want and batch")
    check("and exactly the names that were asked for", sorted(first.tensors) == sorted(names), sorted(first.tensors),
          "want and batch")
    odd = [f"{n}: {a.dtype}{a.shape}" for n, a in first.tensors.items() if n in schema.offers and
           (a.dtype != DTYPES[schema.offers[n][0]] or a.shape != tuple(schema.offers[n][1:]))]
    check("of the dtypes and shapes that were offered", not odd, odd, "want and batch")
    expect("one name of them alone: the same", "want and batch")
    one = stage.ask(client, 0, names[:1])
    check("one name of them alone: the same", same(one, Record("batch", {}, {names[0]: first[names[0]]})),
          f"{one.kind} {one.scalars}", "want and batch")
    expect("the same want again: the same bytes", "want and batch")
    check("the same want again: the same bytes", same(stage.ask(client, 0, names), first), "they differ: a want may be repeated",
          "want and batch")
    expect("parts 0 and 1 of 2 are the halves of the rows", "want and batch")
    halves = [stage.ask(client, 0, names, i, 2) for i in (0, 1)]
    whole = all(sorted(h.tensors) == sorted(names) for h in halves)
    joined = {n: np.concatenate([h[n] for h in halves]) for n in names} if whole else {}
    check("parts 0 and 1 of 2 are the halves of the rows", joined and all(len(halves[0][n]) == batch // 2 for n in names) and
          alike(joined, first.tensors), "they are not, joined", "want and batch")
    expect("two open wants are answered in their order", "want and batch")
    later = min(1, steps - 1)
    client.want(later, names)
    client.want(0, names)
    got = [stage.take(client).scalars.get("step") for _ in (0, 1)]
    check("two open wants are answered in their order", got == [later, 0], got, "want and batch")
    expect("the last step's epoch", "want and batch")
    last = stage.ask(client, steps - 1, names)
    check("the last step's epoch", last.scalars.get("epoch") == (steps - 1) // schema["fact.steps_per_epoch"], last.scalars,
          "want and batch")


def check_others(stage, client, schema):
    """What other clients do wrong does not disturb this one."""
    names = list(schema.offers)
    other, _ = stage.opened()
    expect("a name that is not offered: a fault with code and sentence", "want and batch")
    answer = stage.ask(other, 0, ["no such name"])
    check("a name that is not offered: a fault with code and sentence",
          answer.kind == "fault" and answer.scalars.get("code") in range(1, 256) and
          answer.scalars.get("sentence"), f"{answer.kind} {answer.scalars}", "want and batch")
    check("a fault's code is 1 to 255, and it tells whether it is said", type(answer.scalars.get("said")) is bool,
          answer.scalars, "end, fault, close")
    for rule, step in (("a want past the last step: a fault", schema["fact.steps"]), ("a step that is no integer: a fault", "1")):
        other, _ = stage.opened()
        expect(rule, "WRITING A STAGE")
        answer = stage.ask(other, step, names[:1])
        check(rule, answer.kind == "fault", f"{answer.kind} {answer.scalars}", "WRITING A STAGE")
    junk = zmq.Context.instance().socket(zmq.DEALER)
    if b"curve=" not in stage.ticket:
        junk.connect(stage.ticket.decode().split()[2])
        junk.send_multipart([b"\xff" * 100, b"junk"])
        time.sleep(0.3)
    expect("one client's faults are not another's", "want and batch")
    check("one client's faults are not another's", stage.ask(client, 0, names).kind == "batch", "the other is no longer served",
          "want and batch")
    junk.close(0)


def check_stop(kept):
    stage = Serving()
    client, schema = stage.opened()
    rule = "after SIGINT it sets stop in what it sends, and serves on"
    expect(rule, "signals")
    stage.process.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    answer = stage.ask(client, 0, list(schema.offers)[:1])
    check(rule, answer.kind == "batch" and answer.scalars.get("stop") == 2,
          f"{answer.kind} {answer.scalars} {stage.process.last_line()}", "signals")
    client.close()
    check_status("and ends with 130", stage, 130, "signals")


def check_second_signal(kept):
    stage = Serving()
    stage.opened()
    for _ in (1, 2):
        stage.process.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    check_status("a second signal ends it at once", stage, 130, "signals")


def check_stop_from_front(kept):
    stage = Serving()
    client, schema = stage.opened()
    stage.front.more = {"stop": 15}
    rule = "a stop that comes from in front is passed on"
    expect(rule, "signals")
    answer = stage.ask(client, 0, list(schema.offers)[:1])
    check(rule, answer.scalars.get("stop") == 15, f"{answer.kind} {answer.scalars}", "signals")


def check_status(rule, stage, code, section):
    status = stage.status()
    return check(rule, status == code, "it hangs" if status is None
                 else f"status {status}, last words '{stage.process.last_line()}'", section)


def check_lost_client(kept):
    stage = Serving()
    client, _ = stage.opened()
    client.socket.close(0)
    stage.process.process.stdout.close()
    check_status("its client vanishes: it ends, with 3", stage, 3, "neighbours that vanish")


def check_lost_reader(kept):
    stage = Serving()
    stage.process.process.stdout.close()
    status = stage.status()
    check("nobody reads its ticket: it ends, not with 0", status not in (None, 0), "it hangs" if status is None
          else f"status {status}", "WRITING A STAGE")


def check_fault_of_client(kept, said=True):
    stage = Serving()
    client, _ = stage.opened()
    client.send("fault", {"code": 9, "sentence": "a fault of check-stage", "said": said})
    client.socket.close(1000)
    check_status("a fault of its only client ends it, with its code", stage, 9, "end, fault, close")
    check_saying(stage.process, said)


def check_saying(process, said):
    rule = "a fault that is said is not said again" if said else "a fault that is not said is said"
    check(rule, ("a fault of check-stage" in process.said()) != said, f"standard error ends with '{process.last_line()}'",
          "end, fault, close")


def check_lost_front(kept):
    stage = Serving()
    client, schema = stage.opened()
    rule = "the stage in front is killed: 3, and its client is told"
    expect(rule, "neighbours that vanish")
    stage.front.close()
    stage.process.process.stdin.close()
    stage.front = None
    client.want(0, list(schema.offers)[:1])
    check_fault(rule, stage, client, 3, "neighbours that vanish")


def check_fault_of_front(kept):
    stage = Serving()
    client, _ = stage.opened()
    rule = "a fault of the stage in front is passed on with its code"
    expect(rule, "end, fault, close")
    stage.front.send("fault", {"code": 9, "sentence": "a fault of check-stage", "said": True})
    check_fault(rule, stage, client, 9, "end, fault, close")
    check_saying(stage.process, True)


def check_fault(rule, stage, client, code, section):
    answer, status = stage.take(client), stage.status()
    check(rule, answer.kind == "fault" and answer.scalars.get("code") == code and status == code,
          f"{answer.kind} {answer.scalars}, status {status}", section)


def check_fault_ticket(kept):
    process = Process("sprat1 fault 42 a sentence of check-stage")
    line = process.line() if options.place == "middle" else b""
    status, passed = process.status(), b"sprat1 fault 42 a sentence of check-stage\n" if options.place == "middle" else b""
    check("a fault ticket is passed on, with its code, in silence", line == passed and status == 42 and not process.said(),
          f"status {status}, last words '{process.last_line()}', {line}", "TICKET")


def check_answering(kept):
    """The run as it should be. Where its schema is wrong, kept stays empty, and there is nothing else to play."""
    stage = Serving()
    if not check_ticket(stage):
        return
    client, schema = stage.opened()
    if not check_schema(schema, stage.ticket):
        return
    kept["schema"] = schema
    check_answers(stage, client, schema)
    check_others(stage, client, schema)
    client.close()
    check_status("when its last client has closed it ends, with 0", stage, 0, "end, fault, close")
    path = stage.ticket.decode().split()[2][6:]
    check("its socket is gone", not stage.ticket.split()[2].startswith(b"ipc:") or not os.path.exists(path), path, "sockets")
