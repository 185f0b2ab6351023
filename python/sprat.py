"""sprat.py - a stage of sprat in Python: what wire.5 asks of one. Needs pyzmq, msgpack, numpy. How: docs/python.md, examples/.

An exception ends the line with one sentence at every stage; so does Fault(code, sentence). What a stage that serves prints goes
to standard error: its standard output carries the ticket.
"""
import fcntl
import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback

import msgpack
import numpy
import zmq
from zmq.utils.monitor import recv_monitor_message

DTYPES = {"u8": numpy.dtype("u1"), "i32": numpy.dtype("<i4"), "i64": numpy.dtype("<i8"), "f32": numpy.dtype("<f4")}
ENDS = (zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED | zmq.EVENT_CONNECT_RETRIED | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL |
        zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH)


class Fault(Exception):
    """Ends the line with a code, 1 to 255, and a sentence. said: it stands on standard error already."""

    def __init__(self, code, sentence, said=False):
        super().__init__(sentence)
        self.code, self.said = code if code in range(1, 256) else 1, said


class Record:
    """A message: kind, scalars {name: value}, tensors {name: array}, offers {name: (dtype, size...)}, names [name]."""

    def __init__(self, kind, scalars=(), tensors=(), offers=(), names=()):
        self.kind, self.scalars, self.offers, self.names = kind, dict(scalars), dict(offers), list(names)
        self.tensors = {n: numpy.ascontiguousarray(a) for n, a in dict(tensors).items()}
        self.link = self.answer = None     # of a want: where it was sent, what came

    def __getitem__(self, name):
        return self.tensors[name] if name in self.tensors else self.scalars[name]

    def pack(self):
        kinds = {n: next((k for k, d in DTYPES.items() if d == a.dtype), None) for n, a in self.tensors.items()}
        for n in (n for n in kinds if not kinds[n]):
            raise Fault(1, f"'{n}' is {self[n].dtype}, but tensors are u8, i32, i64 or f32: try .astype(numpy.float32)")
        header = {"kind": self.kind, "scalars": self.scalars,
                  "tensors": [[n, kinds[n], list(a.shape)] for n, a in self.tensors.items()],
                  "offers": [[n, o[0], list(o[1:])] for n, o in self.offers.items()], "names": self.names}
        return [msgpack.packb({key: v for key, v in header.items() if v})] + [a.tobytes() for a in self.tensors.values()]

    @classmethod
    def unpack(cls, frames):
        try:
            h = msgpack.unpackb(frames[0])
            for n, d in ((n, d) for n, d, _ in h.get("tensors", ()) if d not in DTYPES):
                raise Fault(1, f"'{n}' came as '{d}', but tensors are u8, i32, i64 or f32")
            tensors = {n: numpy.frombuffer(f, DTYPES[d]).reshape(s)
                       for (n, d, s), f in zip(h.get("tensors", ()), frames[1:], strict=True)}
            return cls(h["kind"], h.get("scalars", ()), tensors, {n: (d, *s) for n, d, s in h.get("offers", ())},
                       h.get("names", ()))
        except (ValueError, KeyError, TypeError, AttributeError, msgpack.UnpackException) as e:
            raise Fault(1, f"refused a message that breaks wire.5: {type(e).__name__} {e}") from e


class Link:
    """A socket and its monitor; of a client also the server's name, whether it has sent its schema, and how many wants are open
    there."""

    def __init__(self, kind, patience, stage, endpoint, options=()):
        self.socket, self.stage, self.endpoint = zmq.Context.instance().socket(kind), stage, endpoint
        self.ready, self.open = False, 0
        ms = int(1000 * min(max(patience, 5), 60))    # a lost host is only noticed by its silence
        beat = ((zmq.HEARTBEAT_IVL, min(ms // 4, 5000)), (zmq.HEARTBEAT_TIMEOUT, ms), (zmq.HEARTBEAT_TTL, ms))
        for option, value in ((zmq.RECONNECT_IVL, 10**9), (zmq.IPV6, "[" in endpoint), *beat * endpoint.startswith("tcp:"),
                              *options):
            self.socket.set(option, value)
        self.monitor = self.socket.get_monitor_socket(ENDS | zmq.EVENT_ACCEPTED)
        try:
            (self.socket.connect if kind == zmq.DEALER else self.socket.bind)(endpoint)
        except zmq.ZMQError as e:
            raise Fault(2, f"unable to use '{endpoint}': {e}: write tcp://HOST:PORT or ipc://PATH") from e

    def send(self, record, *to):
        self.socket.send_multipart([*to, *record.pack()])

    def close(self):
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close(3000 * (self.ready or self.socket.type == zmq.ROUTER))


class Stage:
    """facts: of a loss, or of the stage in front; bind: "tcp://HOST:PORT" in place of a unix socket; insecure: no encryption
    there."""

    def __init__(self, name, serves=False, facts=(), patience=60, bind="", insecure=False):
        self.name, self.serves, self.patience, self.bind, self.insecure = name, serves, patience, bind, insecure
        self.facts = {f"fact.{n}": v for n, v in dict(facts).items()}
        self.stop, self.signalled, self.since = {}, False, time.time()
        self.servers, self.wants, self.schema, self.stdin, self.asks, self.ended = [], [], None, None, False, False
        self.router, self.clients, self.lines, self.requests = None, {}, set(), []
        self.folder, self.reader, self.served = "", True, False
        self.command, self.stdout = shlex.join([name, *sys.argv[1:]]).encode()[:1023].decode(errors="ignore"), os.dup(1)
        os.dup2(2 if serves else 1, 1)
        for n in (signal.SIGINT, signal.SIGTERM):
            signal.signal(n, self.on_signal)

    def on_signal(self, n, frame):
        if self.signalled:
            os._exit(128 + n)                         # the second one
        self.stop, self.signalled = {"stop": n}, True

    def __enter__(self):
        return self

    def __exit__(self, kind, e, trace):
        """The last word, to all neighbours."""
        if e and not isinstance(e, Fault):
            traceback.print_exception(kind, e, trace)
            e = Fault(1, f"{kind.__name__}: {e}")
        if e and not e.said:
            print(f"{self.name}: {e}", file=sys.stderr)
        code = e.code if e else 128 + self.stop["stop"] if self.signalled else 0
        word = Record("fault", {"code": code, "sentence": str(e)[:1000], "said": True}) if e else Record("close")
        for link, *to in [[s] for s in self.servers if s.ready] + [[self.router, who] for who in self.clients]:
            link.send(word, *to)
        if e and self.serves and not self.router:
            os.write(self.stdout, f"sprat1 fault {code} {e}".replace("\n", " ").encode()[:500] + b"\n")
        for link in self.servers + [self.router] * bool(self.router):
            link.socket.closed or link.close()
        zmq.Context.instance().term()
        shutil.rmtree(self.folder, ignore_errors=True)
        sys.exit(code)

    def attend(self):
        """Waits for what happens - tickets, records, links that end - at most a fifth of a second, so that signals are seen."""
        links = [s for s in [*self.servers, self.router] if s and not s.socket.closed]
        watched = [(x, zmq.POLLIN) for link in links for x in (link.socket, link.monitor)]
        watched += [(0, zmq.POLLIN)] * (self.stdin is not None) + [(self.stdout, zmq.POLLERR)] * (self.serves and self.reader)
        found = dict(zmq.zmq_poll(watched, 200))
        self.reader = self.reader and self.stdout not in found
        if 0 in found:
            self.read_tickets(os.read(0, 4096))
        for link in links:
            events = [recv_monitor_message(link.monitor) for _ in iter(lambda: link.monitor.poll(0), 0)]
            ended = {e["value"] for e in events if e["event"] & ENDS}
            time.sleep(0.2 if ended else 0)           # what was sent before the end may still be on its way
            while link.socket.poll(0):
                self.receive(link, link.socket.recv_multipart())
            if link is self.router:
                self.lines = (self.lines | {e["value"] for e in events if e["event"] == zmq.EVENT_ACCEPTED}) - ended
            elif ended:
                link.ready = link.close()
        self.ask_servers()

    def receive(self, link, frames):
        who = frames[: link is self.router]
        try:
            record = Record.unpack(frames[len(who):])
        except Fault as e:
            if not who:
                raise
            return self.refuse(*who, e)
        self.stop = self.stop or {n: v for n, v in record.scalars.items() if n == "stop"}
        return self.from_client(*who, record) if who else self.from_server(link, record)

    def read_tickets(self, text):
        *lines, rest = (self.stdin + (text or b"\n" * bool(self.stdin))).split(b"\n")
        self.stdin = rest if text else None
        for line in (x.decode(errors="replace") for x in lines):
            words = line.split(" ")
            if words[:2] == ["sprat1", "fault"] and len(words) > 3 and words[2].isdigit():
                raise Fault(int(words[2]), " ".join(words[3:]), said=True)
            if words[0] != "sprat1" or len(words) < 3 or not all(w.startswith("curve=") and len(w) == 46 for w in words[3:]):
                raise Fault(2, f"'{line[:80]}' is no ticket for this stage: pipe one such as 'augment DATA |' in front")
            keys = ("".join(words[3:])[6:].encode(), *zmq.curve_keypair()) if words[3:] else ()
            link = Link(zmq.DEALER, self.patience, *words[1:3],
                        zip((zmq.CURVE_SERVERKEY, zmq.CURVE_PUBLICKEY, zmq.CURVE_SECRETKEY), keys))
            facts = {} if self.serves else self.facts
            link.send(Record("open", {"version": 1, "role": self.name, "command": self.command, **facts}))
            self.servers.append(link)

    def trained(self):
        return bool(self.schema and self.schema.scalars.get("trained"))

    def ask_servers(self):
        """Wants that no living server has go to one with room: two each, one to a trained one. Where none is left the line
        ends."""
        for want in (w for w in self.wants if not w.answer and (not w.link or w.link.socket.closed)):
            want.link = min((s for s in self.servers if s.ready and s.open < 2 - self.trained()), key=lambda s: s.open,
                            default=None)
            if want.link:
                want.link.open += 1
                want.link.send(want)
        if not self.asks or self.ended or any(s.ready for s in self.servers) or self.stdin is not None and not self.servers:
            self.since = time.time()
        elif time.time() - self.since > self.patience or self.stdin is None and all(s.socket.closed for s in self.servers):
            s = self.servers[-1] if self.servers else None
            raise Fault(3, "no ticket came on stdin: no stage is in front, as in 'augment DATA | ...', or it ended before it "
                        "served" if not s else
                        f"the '{s.stage}' stage vanished without a word: run the same line again to resume" if self.schema else
                        f"nobody answers at '{s.endpoint}' as the '{s.stage}' stage's ticket says: does it still run, is that "
                        "its address from this host, the key whole?", said=self.signalled)
        if self.signalled and not self.trained() and not self.clients:
            raise Fault(128 + self.stop["stop"], "interrupted")

    def from_server(self, link, r):
        want = next((w for w in self.wants if w.link is link and not w.answer), None)
        if r.kind == "schema" and r.scalars.get("version") == 1 and not link.ready:
            facts = [{n: v for n, v in x.scalars.items() if n.startswith("fact.")} for x in (r, self.schema or r)]
            if facts[0] != facts[1]:
                raise Fault(2, f"refused the '{link.stage}' stage at '{link.endpoint}': its facts differ from the first one's")
            link.ready, self.schema = True, self.schema or r
        elif (r.kind == "batch" and want and {*r.tensors} == {*want.names} and
              all(r.scalars.get(n) == v for n, v in want.scalars.items())):
            want.answer, link.open = r, link.open - 1
        elif r.kind in ("end", "close", "fault"):
            link.ready, self.ended = False, self.ended or r.kind == "end"
        else:
            raise Fault(1, f"the '{link.stage}' stage sent '{r.kind}' out of turn: {r.scalars}")
        if r.kind == "fault":
            raise Fault(r.scalars.get("code"), str(r.scalars.get("sentence")), r.scalars.get("said", False))

    # --- for stages that ask ---

    def connect(self):
        """The schema of the stage in front: facts (schema["fact.batch"]), offers, classes."""
        self.asks, self.stdin = True, b"" if not self.asks else self.stdin
        while not self.schema:
            self.attend()
        return self.schema

    def want(self, step, names, part=0, parts=1):
        self.wants.append(Record("want", {"step": step, "part": part, "parts": parts}, names=names))
        return self.wants[-1]

    def take(self, want):
        """What comes of it; None where the stage in front has ended."""
        while not want.answer and not self.ended:
            self.attend()
        self.wants.remove(want)
        return want.answer

    def batches(self, names):
        """All steps in order: batch["view0"] is an array, batch["step"] a number. The next ones are made meanwhile."""
        steps, ahead = self.connect()["fact.steps"], []
        for step in range(steps):
            ahead += [self.want(s, names) for s in range(step + len(ahead), min(steps, step + 2 * len(self.servers)))]
            yield self.take(ahead.pop(0))

    def train(self, names, step, state=dict, restore=None):
        """A loss. step(batch) gives ({name: gradient}, {"loss": number, ...}). restore() gets what state() gave at the last
        save, {name: array}. Prints a line of JSON a step."""
        schema = self.connect()
        if not self.trained():
            raise Fault(2, "the stage in front is not trained: a loss stands behind 'encode -o DIR'")
        saved, s = {n[5:]: a for n, a in schema.tensors.items() if n.startswith("loss.")}, schema["first_step"]
        if saved:
            restore(saved)
        while batch := self.take(self.want(s, names)):
            gradients, scalars = step(batch)
            scalars = {n: float(v) for n, v in scalars.items()}
            tensors = {**{f"d:{n}": d for n, d in gradients.items()},
                       **{f"loss.{n}": a for n, a in (state() if batch["save"] else {}).items()}}
            grad = Record("grad", {"step": s, "incarnation": schema["incarnation"], **scalars, **self.stop}, tensors)
            for link in (x for x in self.servers if x.ready):
                link.send(grad)
            s += 1
            print(json.dumps({"step": s, "epoch": batch["epoch"] + 1, **scalars, "lr": batch["lr"]}), flush=True)

    # --- for stages that serve ---

    def serve(self, make, offers, needs=None):
        """make(batch) gives {name: array} for batch.names, of the rows batch.rows of step batch["step"]. needs: names of the
        stage in front that it reads, batch["view0"]; then all names that are not in offers pass through. Without needs this
        stage is the front itself."""
        front = Record("schema") if needs is None else self.connect()
        if self.trained():
            raise Fault(2, f"the '{front['stage']}' stage in front is being trained: only a loss can stand behind it")
        lineage = (front["lineage"].tobytes() if "lineage" in front.tensors else b"") + self.command.encode() + b"\n"
        scalars = {**{n: v for n, v in front.scalars.items() if n[:5] in ("fact.", "made.")}, **self.facts, "version": 1,
                   "stage": self.name, "trained": False, "incarnation": time.time_ns()}
        self.down = Record("schema", scalars, {**front.tensors, "lineage": numpy.frombuffer(lineage, "u1")},
                           {**front.offers, **offers})
        self.offers, self.needs = offers, needs
        self.listen()
        began = full = time.time()
        while self.clients or not self.served:
            self.attend()
            full = time.time() if self.lines else full
            if self.clients and time.time() - full > 1:
                raise Fault(3, f"the '{next(iter(self.clients.values()))}' stage vanished without a word: "
                            "run the same line again to resume")
            if not self.served and (not self.reader or time.time() - began > self.patience):
                raise Fault(3, "no stage connected in time: give the ticket to one, or a longer patience", said=not self.reader)
            while self.requests:
                self.answer(make, *self.requests.pop(0))

    def answer(self, make, who, want, asked):
        batch = self.take(asked) if asked else Record("batch", want.scalars)
        own, size, part, parts = {*want.names} & {*self.offers}, self.down["fact.batch"], want["part"], want["parts"]
        if not batch:
            raise Fault(3, "the stage in front ended before it was asked for everything")
        batch.names, batch.rows = sorted(own), range(part * size // parts, (part + 1) * size // parts)
        batch.scalars.setdefault("epoch", want["step"] // self.down.scalars.get("fact.steps_per_epoch", 1))
        made = {**batch.tensors, **(make(batch) if own else {})}
        if who in self.clients:
            self.router.send(Record("batch", {**batch.scalars, **self.stop}, {n: made[n] for n in want.names}), who)

    def from_client(self, who, r):
        role, unknown = self.clients.get(who, "next"), [n for n in r.names if n not in self.down.offers]
        step, part, parts = place = [r.scalars.get(n, otherwise) for n, otherwise in (("step", None), ("part", 0), ("parts", 1))]
        steps, size = self.down["fact.steps"], self.down["fact.batch"]
        if r.kind == "open" and r.scalars.get("version") == 1 and who not in self.clients:
            self.clients[who], self.served = r.scalars.get("role", "next"), True
            self.router.send(self.down, who)
        elif r.kind == "want" and not (all(type(n) is int for n in place) and 0 <= step < steps and 0 <= part < parts <= size):
            self.refuse(who, Fault(1, f"the '{role}' stage asked for part {part} of {parts} of step {step} from 0, "
                                   f"of {steps} steps of {size} rows"))
        elif r.kind == "want" and who in self.clients and not unknown:
            names = {n for n in r.names if n not in self.offers}
            names |= {*self.needs} if self.needs and len(names) < len(r.names) else set()
            r.scalars = {"step": step, "part": part, "parts": parts}
            self.requests.append((who, r, None if self.needs is None else self.want(step, sorted(names), part, parts)))
        elif r.kind == "close":
            self.clients.pop(who, None)
        elif r.kind == "fault":
            self.part(who, Fault(r.scalars.get("code"), f"the '{role}' stage failed: {r.scalars.get('sentence')}",
                                 r.scalars.get("said")))
        elif who in self.clients or r.kind in ("open", "want"):
            self.refuse(who, Fault(2, f"unable to give '{unknown[0]}'" if unknown
                                   else f"the '{role}' stage sent '{r.kind}' out of turn"))

    def refuse(self, who, fault):
        self.router.send(Record("fault", {"code": fault.code, "sentence": str(fault), "said": True}), who)
        self.part(who, fault)

    def part(self, who, fault):
        """Ends with the only client; others are served on."""
        if self.clients.pop(who, None) is not None and not self.clients:
            raise fault
        fault.said or print(f"{self.name}: {fault}", file=sys.stderr)

    def listen(self):
        """At a unix socket in a folder of our own, by ssh at the address by which the session came, or where bind says; then
        the ticket."""
        endpoint, ssh, keys = self.bind, os.environ.get("SSH_CONNECTION", "").split(), zmq.curve_keypair()
        if not endpoint and len(ssh) > 2:
            endpoint = f"tcp://[{ssh[2]}]:*" if ":" in ssh[2] else f"tcp://{ssh[2]}:*"
        elif not endpoint:
            self.folder = tempfile.mkdtemp(prefix="sprat-wire-", dir=os.environ.get("XDG_RUNTIME_DIR"))
            # as long as we live: those of killed servers are swept away
            fcntl.flock(os.open(self.folder, os.O_RDONLY), fcntl.LOCK_EX)
            endpoint = f"ipc://{self.folder}/s"
        secure = endpoint.startswith("tcp:") and not self.insecure
        self.router = Link(zmq.ROUTER, self.patience, "", endpoint, ((zmq.CURVE_SERVER, 1), (zmq.CURVE_SECRETKEY, keys[1]))
                           if secure else ())
        endpoint = self.router.socket.get_string(zmq.LAST_ENDPOINT)
        if endpoint.startswith(("tcp://0.0.0.0:", "tcp://[::]:")):
            raise Fault(2, "a ticket names one address: bind tcp://ADDRESS:PORT, ADDRESS as other hosts reach this one by it")
        try:
            os.write(self.stdout, f"sprat1 {self.name} {endpoint}{' curve=' + keys[0].decode() if secure else ''}\n".encode())
        except BrokenPipeError:
            self.reader = False
