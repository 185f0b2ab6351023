"""peer.py - a stage of sprat in Python, written from lib/stream/wire.5 alone

Server answers wants at a ROUTER and has a ticket; Client asks at a DEALER and is given one. Both speak in Records; the codec
refuses whatever the page refuses, so that a program which talks to this peer is also checked by it.

    server = Server("augment")                        client = Client(ticket, "loss")
    print(server.ticket + "\\n", end="", flush=True)   schema = client.open()
    for who, record in server:                        client.want(0, ["q0", "k1"])
        server.send(who, answer(record))              batch = client.take()
"""
import os
import tempfile

import msgpack
import numpy as np
import zmq

PATIENCE = float(os.environ.get("PEER_PATIENCE") or 10)   # seconds a client waits: longer for programs that sanitisers slow down

VERSION = 1
HEADER_MOST, SCALARS_MOST, TENSORS_MOST, NAMES_MOST, RANK_MOST = 131072, 128, 256, 256, 8
DEPTH_MOST = 6
KINDS = ("open", "schema", "want", "batch", "grad", "end", "fault", "close")
DTYPES = {"u8": np.dtype("u1"), "i32": np.dtype("<i4"), "i64": np.dtype("<i8"), "f32": np.dtype("<f4")}


class Refused(Exception):
    """A message or ticket that breaks the page's rules."""


class Fault(Exception):
    """A neighbour's last word: the line ends with its code."""

    def __init__(self, code, sentence):
        super().__init__(f"{code}: {sentence}")
        self.code, self.sentence = code, sentence


def demand(good, what):
    if not good:
        raise Refused(what)


# --- records and their bytes ---


class Record:
    """kind, scalars {name: value}, tensors {name: array}, offers {name: (dtype, shape)}, names [name]"""

    def __init__(self, kind, scalars=None, tensors=None, offers=None, names=None):
        self.kind, self.scalars, self.tensors = kind, scalars or {}, tensors or {}
        self.offers, self.names = offers or {}, names or []

    def text(self, name):
        return self.tensors[name].tobytes().decode()

    def facts(self):
        return {k: v for k, v in self.scalars.items() if k.startswith("fact.")}


def dtype_name(array):
    return next(name for name, d in DTYPES.items() if d == array.dtype)


def pack(record):
    """A record as the list of its frames."""
    header = {"kind": record.kind, **({"scalars": record.scalars} if record.scalars else {})}
    arrays = {name: np.ascontiguousarray(a) for name, a in record.tensors.items()}
    if arrays:
        header["tensors"] = [[name, dtype_name(a), list(a.shape)] for name, a in arrays.items()]
    if record.offers:
        header["offers"] = [[name, dtype, list(shape)] for name, (dtype, shape) in record.offers.items()]
    if record.names:
        header["names"] = list(record.names)
    return [msgpack.packb(header)] + [a.tobytes() for a in arrays.values()]


def check_values(value, depth=0):
    """No bin, ext or nil anywhere, nothing nested deeper than the page allows, integers within 64 bits and a sign."""
    if isinstance(value, (dict, list)):
        demand(depth < DEPTH_MOST, "nested too deep")
        for item in value:
            check_values(item, depth + 1)
            if isinstance(value, dict):
                check_values(value[item], depth + 1)
    elif isinstance(value, int):
        demand(-2**63 <= value < 2**63, "an integer beyond 64 bits")
    else:
        demand(isinstance(value, (float, str)), f"a value of type {type(value).__name__}")


def check_text(value, most, what):
    demand(isinstance(value, str) and len(value.encode()) <= most and "\0" not in value, what)


def check_scalars(scalars):
    demand(isinstance(scalars, dict) and len(scalars) <= SCALARS_MOST, "scalars")
    for name, value in scalars.items():
        check_text(name, 39, f"scalar name {name!r}")
        demand(isinstance(value, (bool, int, float, str)), f"scalar {name}")
        if isinstance(value, str):
            check_text(value, 1023, f"text of scalar {name}")


def check_specs(specs):
    demand(isinstance(specs, list) and len(specs) <= TENSORS_MOST, "a list of tensors")
    for spec in specs:
        demand(isinstance(spec, list) and len(spec) == 3, "a tensor's description")
        name, dtype, shape = spec
        check_text(name, 111, f"tensor name {name!r}")
        demand(dtype in DTYPES, f"dtype {dtype!r}")
        demand(isinstance(shape, list) and len(shape) <= RANK_MOST, f"shape of {name}")
        demand(all(type(n) is int and 0 <= n < 2**31 for n in shape), f"shape of {name}")


def check_names(names):
    demand(isinstance(names, list) and len(names) <= NAMES_MOST, "names")
    for name in names:
        check_text(name, 111, f"name {name!r}")


def array_of(frame, dtype, shape, name):
    size = DTYPES[dtype].itemsize
    for n in shape:
        size *= n
    demand(len(frame) == size, f"{name} is {dtype}{shape} in {len(frame)} bytes")
    return np.frombuffer(frame, DTYPES[dtype]).reshape(shape)


def unpack(frames):
    """The record of a list of frames."""
    demand(frames and len(frames[0]) <= HEADER_MOST, "header over 128 KiB")
    try:
        header = msgpack.unpackb(frames[0], raw=False, strict_map_key=True)
    except Exception as e:
        raise Refused(f"header: {e}") from e
    demand(isinstance(header, dict), "header is no map")
    check_values(header)
    demand(header.get("kind") in KINDS, f"kind {header.get('kind')!r}")
    specs, offers = header.get("tensors", []), header.get("offers", [])
    check_scalars(header.get("scalars", {}))
    check_specs(specs)
    check_specs(offers)
    check_names(header.get("names", []))
    demand(len(specs) == len(frames) - 1, f"{len(specs)} tensors in {len(frames) - 1} frames")
    tensors = {name: array_of(frame, dtype, shape, name) for (name, dtype, shape), frame in zip(specs, frames[1:])}
    return Record(header["kind"], header.get("scalars", {}), tensors,
                  {name: (dtype, tuple(shape)) for name, dtype, shape in offers}, header.get("names", []))


# --- tickets ---


class Ticket:
    """Where a stage serves. parse() raises Fault for a ticket that tells of a failure."""

    def __init__(self, stage, endpoint, curve="", part=(0, 1)):
        self.stage, self.endpoint, self.curve, self.part = stage, endpoint, curve, part

    def __str__(self):
        words = ["sprat1", self.stage, self.endpoint]
        if self.curve:
            words.append(f"curve={self.curve}")
        if self.part[1] > 1:
            words.append(f"part={self.part[0]}/{self.part[1]}")
        return " ".join(words)

    @classmethod
    def parse(cls, line):
        demand(len(line.encode()) < 512 and line.endswith("\n"), f"ticket {line!r}")
        words = line[:-1].split(" ")
        demand(words[0] == "sprat1" and len(words) >= 3, f"ticket {line!r}")
        if words[1] == "fault":
            demand(words[2].isdigit() and 1 <= int(words[2]) <= 255, f"ticket {line!r}")
            raise Fault(int(words[2]), " ".join(words[3:]))
        ticket = cls(words[1], words[2])
        for word in words[3:]:
            key, _, value = word.partition("=")
            demand(key in ("curve", "part"), f"ticket {line!r}")
            if key == "curve":
                demand(len(value) == 40, f"ticket {line!r}")
                ticket.curve = value
            else:
                ticket.part = tuple(int(n) for n in value.split("/"))
        return ticket


# --- the two ends of a link ---


def receive(socket, seconds):
    if not socket.poll(seconds * 1000):
        raise TimeoutError(f"nothing came for {seconds} seconds")
    return socket.recv_multipart()


class Server:
    """Serves at a unix socket, or at endpoint. Iterating gives (client, record) until every client has said
    close or been told the end."""

    def __init__(self, stage, endpoint=None, patience=60):
        self.folder = None
        if endpoint is None:
            self.folder = tempfile.mkdtemp(prefix="peer-")
            endpoint = f"ipc://{self.folder}/s"
        self.patience, self.clients, self.ended = patience, set(), set()
        self.socket = zmq.Context.instance().socket(zmq.ROUTER)
        self.socket.bind(endpoint)
        self.ticket = str(Ticket(stage, self.socket.getsockopt_string(zmq.LAST_ENDPOINT)))

    def __iter__(self):
        while not self.clients or self.clients != self.ended:
            frames = receive(self.socket, self.patience)
            who, record = frames[0], unpack(frames[1:])
            if record.kind == "fault":
                raise Fault(record.scalars["code"], record.scalars["sentence"])
            if record.kind == "close":
                self.ended.add(who)
                continue
            demand((record.kind == "open") == (who not in self.clients), f"{record.kind} out of turn")
            self.clients.add(who)
            yield who, record

    def send(self, who, record):
        self.socket.send_multipart([who] + pack(record))
        if record.kind in ("end", "fault"):  # the last word on this link
            self.ended.add(who)

    def close(self):
        self.socket.close(linger=3000)
        if self.folder:
            path = f"{self.folder}/s"
            if os.path.exists(path):
                os.unlink(path)
            os.rmdir(self.folder)


class Client:
    """One link to the server of a ticket (text or Ticket)."""

    def __init__(self, ticket, role, patience=PATIENCE):
        self.ticket = ticket if isinstance(ticket, Ticket) else Ticket.parse(ticket.rstrip("\n") + "\n")
        self.role, self.patience, self.schema, self.asked = role, patience, None, []
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        if self.ticket.curve:
            self.socket.curve_publickey, self.socket.curve_secretkey = zmq.curve_keypair()
            self.socket.curve_serverkey = self.ticket.curve.encode()
        self.socket.connect(self.ticket.endpoint)

    def send(self, record):
        self.socket.send_multipart(pack(record))

    def take_any(self):
        record = unpack(receive(self.socket, self.patience))
        if record.kind == "fault":
            raise Fault(record.scalars["code"], record.scalars["sentence"])
        return record

    def open(self, **facts):
        self.send(Record("open", {"version": VERSION, "role": self.role, "command": f"{self.role} (peer)",
                                  **{f"fact.{k}": v for k, v in facts.items()}}))
        self.schema = self.take_any()
        demand(self.schema.kind == "schema", f"{self.schema.kind} in place of a schema")
        demand(self.schema.scalars["version"] == VERSION, "version")
        demand(type(self.schema.scalars["incarnation"]) is int and isinstance(self.schema.scalars["stage"], str), "schema")
        return self.schema

    def want(self, step, names, part=0, parts=1):
        self.asked.append((step, part, parts, list(names)))
        self.send(Record("want", {"step": step, "part": part, "parts": parts}, names=names))

    def take(self):
        """The answer to the oldest want, or None when the server has ended."""
        record = self.take_any()
        if record.kind == "end":
            return None
        demand(record.kind == "batch", f"{record.kind} in place of a batch")
        step, part, parts, names = self.asked.pop(0)
        s = record.scalars
        demand((s.get("step"), s.get("part"), s.get("parts")) == (step, part, parts), f"answer {s} to want {step} {part}/{parts}")
        demand(set(record.tensors) == set(names), f"{sorted(record.tensors)} in place of {sorted(names)}")
        demand(type(s.get("epoch")) is int, "a batch without epoch")
        return record

    def grad(self, step, gradients, scalars, state=None):
        self.send(Record("grad", {"step": step, "incarnation": self.schema.scalars["incarnation"], **scalars},
                         {**{f"d:{name}": d for name, d in gradients.items()}, **(state or {})}))

    def close(self):
        self.send(Record("close"))
        self.socket.close(linger=3000)
