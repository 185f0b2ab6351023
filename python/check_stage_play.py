"""check_stage_play.py - the neighbours that check-stage plays, the stage under test between them, and what a rule's verdict is"""
import argparse
import contextlib
import os
import subprocess
import tempfile
import time

import numpy as np
import zmq

from sprat import DTYPES, Fault, Record

options = argparse.Namespace()   # of the command line

BATCH, DIM, STEPS, SIZE, PER_EPOCH = 8, 16, 6, 32, 3
FACTS = {"data": "checks", "samples": BATCH * PER_EPOCH, "split": "train", "recipe": "checks", "size": SIZE,
         "mean": "0.485,0.456,0.406",
         "std": "0.229,0.224,0.225", "views": 2, "batch": BATCH, "steps": STEPS, "steps_per_epoch": PER_EPOCH, "epochs": 2,
         "seed": 1, "eval": False}
REQUIRED = ("views", "batch", "steps", "steps_per_epoch")
failures, verdicts, started, due = 0, set(), [], ("it answers", "")


def check(rule, good, why="", section=""):
    """A rule that comes up again is told again only if the verdict is another one."""
    global failures
    failures += not good
    verdict = f"ok - {rule}" if good else f"not ok - {rule}: {why}{f' (wire.5, {section})' if section else ''}"
    if verdict not in verdicts:
        print(verdict, flush=True)
    verdicts.add(verdict)
    return bool(good)


def failed():
    return failures > 0


class Silence(Exception):
    """What was due did not come."""


def expect(rule, section):
    """What the next message is about: the rule that is broken where none comes."""
    global due
    due = rule, section


def scene(part, kept):
    """A part of the play with processes of its own; where it breaks off the next one goes on."""
    try:
        part(kept)
    except Silence as e:
        check(due[0], False, f"{e}{started[-1].last_words()}", due[1])
    except Fault as e:
        check("its messages can be read", False, e, "MESSAGES")
    finally:
        while started:
            started.pop().end()


class Process:
    """The stage under test; standard input stays open, as in a line whose first stage lives."""

    def __init__(self, ticket=None):
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(options.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors)
        started.append(self)
        if ticket is None:
            self.process.stdin.close()
        else:
            with contextlib.suppress(BrokenPipeError):     # it has ended already: what is waited for next tells so
                os.write(self.process.stdin.fileno(), f"{ticket}\n".encode())

    def line(self):
        """The first line of standard output; what there is of it when time is over."""
        poller, text, end = zmq.Poller(), b"", time.time() + options.patience
        poller.register(self.process.stdout, zmq.POLLIN)
        while not text.endswith(b"\n") and poller.poll(max(0, 1000 * (end - time.time()))):
            byte = os.read(self.process.stdout.fileno(), 1)
            if not byte:
                break
            text += byte
        return text

    def status(self):
        """Its exit status, 128 + n by a signal; None: it had to be killed."""
        try:
            code = self.process.wait(options.patience)
            return code if code >= 0 else 128 - code
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None

    def said(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace").strip()

    def last_words(self):
        """What became of it, where something has."""
        if self.process.poll() is None:
            return ""
        return f"; it ended with status {self.status()}: {self.last_line() or 'without a word'}"

    def last_line(self):
        return (self.said().splitlines() or [""])[-1]

    def end(self):
        self.process.kill()
        self.process.wait()


def receive(socket, attend=lambda: None):
    """The next message's frames; meanwhile we attend to others. A stage that has ended is not waited for."""
    end = time.time() + options.patience
    while not socket.poll(20):
        attend()
        if started[-1].process.poll() is not None and not socket.poll(300):
            raise Silence("nothing came")
        if time.time() > end:
            raise Silence(f"nothing came within {options.patience:g} s")
    return socket.recv_multipart()


class Server:
    """We serve: views, or embeddings of a trained stage."""

    def __init__(self, offers, **scalars):
        self.socket, endpoint = zmq.Context.instance().socket(zmq.ROUTER), f"ipc://{tempfile.mkdtemp(dir=options.folder)}/s"
        self.socket.bind(endpoint)
        self.who, self.offers, self.state, self.more = None, offers, {}, {}
        self.ticket = f"sprat1 {'encode' if 'first_step' in scalars else 'augment'} {endpoint}"
        self.scalars = {"version": 1, "incarnation": 77, "stage": "check", "trained": "first_step" in scalars, **scalars,
                        **{f"fact.{n}": v for n, v in FACTS.items()}}

    def receive(self):
        self.who, *frames = receive(self.socket)
        return Record.unpack(frames)

    def send(self, kind, scalars=(), tensors=(), **more):
        self.socket.send_multipart([self.who, *Record(kind, scalars, tensors, **more).pack()])

    def schema(self):
        self.send("schema", self.scalars, {"lineage": np.frombuffer(b"check-stage\n", "u1"), **self.state}, offers=self.offers)

    def array(self, name, step):
        dtype, *shape = self.offers[name]
        draw = np.random.default_rng((step, *name.encode()))
        if dtype == "f32":
            return draw.standard_normal(shape, "f4")
        return draw.integers(0, 3 if dtype == "i32" else 200, shape).astype(DTYPES[dtype])

    def batch(self, want):
        step, part, parts = (want[n] for n in ("step", "part", "parts"))
        rows = slice(part * BATCH // parts, (part + 1) * BATCH // parts)
        self.send("batch", {"step": step, "part": part, "parts": parts, "epoch": step // PER_EPOCH, **self.more},
                  {n: self.array(n, step)[rows] for n in want.names})

    def close(self):
        self.socket.close(0)


class Client:
    """We ask."""

    def __init__(self, ticket, role="check"):
        words = ticket.decode().split()
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        if words[3:]:
            self.socket.curve_publickey, self.socket.curve_secretkey = zmq.curve_keypair()
            self.socket.curve_serverkey = words[3][6:].encode()
        self.socket.connect(words[2])
        self.send("open", {"version": 1, "role": role, "command": "check-stage"})

    def send(self, kind, scalars=(), **more):
        self.socket.send_multipart(Record(kind, scalars, **more).pack())

    def want(self, step, names, part=0, parts=1):
        self.send("want", {"step": step, "part": part, "parts": parts}, names=names)

    def close(self):
        self.send("close")
        self.socket.close(1000)


class Serving:
    """The stage under test, started, with our server in front where it stands in the middle, and a client."""

    def __init__(self):
        views = {**{f"view{i}": ("u8", BATCH, SIZE, SIZE, 3) for i in (0, 1)}, "index": ("i64", BATCH), "label": ("i32", BATCH)}
        self.front = Server(views) if options.place == "middle" else None
        self.process = Process(self.front.ticket if self.front else None)
        if self.front:
            self.front_opens()
        self.ticket = self.process.line()

    def front_opens(self):
        expect("its first message is open, with version 1, role and command", "open and schema")
        check_open(self.front.receive())
        self.front.schema()

    def attend(self):
        """Our part as the stage in front."""
        while self.front and self.front.socket.poll(20):
            record = self.front.receive()
            if record.kind == "want":
                self.front.batch(record)

    def take(self, client):
        """The next message to a client; the stage's own questions are answered meanwhile."""
        return Record.unpack(receive(client.socket, self.attend))

    def ask(self, client, *want):
        client.want(*want)
        return self.take(client)

    def opened(self):
        expect("open is answered by a schema", "open and schema")
        client = Client(self.ticket)
        return client, self.take(client)

    def status(self):
        end = time.time() + options.patience
        while self.process.process.poll() is None and time.time() < end:
            self.attend()
            time.sleep(0.02)
        return self.process.status()


seen_opens = []


def check_open(r):
    if seen_opens:
        return
    seen_opens.append(r)
    facts = [n for n in r.scalars if n.startswith("fact.")]
    check("its first message is open, with version 1, role and command", r.kind == "open" and r.scalars.get("version") == 1 and
          all(isinstance(r.scalars.get(n), str) and len(r[n].encode()) < 1024 for n in ("role", "command")),
          f"{r.kind} {r.scalars}", "open and schema")
    check("an open has at most 12 facts", len(facts) <= 12, f"{len(facts)}", "RUN FACTS")
