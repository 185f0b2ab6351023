"""lib/stream/wire.5 says what is so: its conversation is held with the real loss byte by byte, its limits are the headers', and
what sprat's stages send of facts and names stands on it"""
import glob
import json
import os
import re
import subprocess
import sys

import augment_peer
import lines
import msgpack
import numpy as np
from lines import ROOT, Line, check, content, folder, images
from peer import DTYPES, KINDS, Client, Server, pack, receive, unpack

PAGE = content(f"{ROOT}/lib/stream/wire.5").decode()
SOURCES = "".join(content(path).decode()
                  for path in sorted(glob.glob(f"{ROOT}/lib/stream/*.[ch]")) + [f"{ROOT}/lib/tensor/tensor.h"])


class Message:
    """What the page shows of one: its notation, and its frames."""

    def __init__(self, block):
        notation, self.hexadecimal = block.split("\n\n")
        self.said = json.loads(notation)
        header, *frames = re.split(r"^[\w:.]+: (?=[0-9a-f]+$)", self.hexadecimal, flags=re.M)
        self.frames = [bytes.fromhex(x) for x in (header, *frames)]


def conversation():
    text = PAGE.split(".Sh A CONVERSATION")[1].split(".Sh SEE ALSO")[0]
    return [Message(b.strip()) for b in re.findall(r"\.Bd -literal -offset indent\n(.*?)\.Ed", text, re.S)]


def test_bytes(messages):
    for m in messages:
        kind = m.said["kind"]
        check(f"{kind}: the bytes are the notation's", msgpack.unpackb(m.frames[0]) == m.said, msgpack.unpackb(m.frames[0]))
        record = unpack(m.frames)
        check(f"{kind}: a codec from the page packs the same", pack(record) == m.frames, [f.hex() for f in pack(record)])
    kinds = {m.said["kind"] for m in messages}
    check("all kinds are shown", kinds == set(KINDS), kinds)


def close_to(ours, theirs):
    """The same keys and values; numbers up to rounding."""
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(close_to(v, theirs[k]) for k, v in ours.items())
    return abs(ours - theirs) < 1e-6 if isinstance(ours, float) else ours == theirs


def start_loss(messages):
    server = Server("encode")
    loss = subprocess.Popen([f"{lines.BIN}/loss", "-q", *messages[0].said["scalars"]["command"].split(" ")[1:]],
                            stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    loss.stdin.write(f"{server.ticket}\n".encode())
    loss.stdin.close()
    return server, loss


def test_conversation(messages, last):
    """The page's server, whose last word is an end or a fault, and the real loss: what loss sends are the page's bytes, what it
    is sent are too."""
    server, loss = start_loss(messages)
    for m in messages:
        kind = m.said["kind"]
        if kind in ({"end", "fault", "close"} - {last}):
            continue
        if kind in ("schema", "batch", last):
            server.socket.send_multipart([who] + m.frames)
            continue
        who, *frames = receive(server.socket, 20)
        if kind == "grad":    # of numbers from the machine's own logarithms
            good = close_to(msgpack.unpackb(frames[0]), m.said) and len(frames) == len(m.frames)
            for (name, dtype, _), ours, page in zip(m.said["tensors"], frames[1:], m.frames[1:]):
                good = good and np.allclose(*(np.frombuffer(f, DTYPES[dtype]) for f in (ours, page)), atol=1e-6)
            check("loss's gradient is the page's", good, [f.hex() for f in frames])
        else:
            check(f"loss's {kind} is the page's, byte by byte", frames == m.frames, [f.hex() for f in frames])
    out, said = loss.stdout.read(), loss.stderr.read()
    server.close()
    due = next(m.said["scalars"]["code"] for m in messages if m.said["kind"] == last)
    check(f"and the page's {last} ends it", loss.wait(20) == due and b'"step": 1' in out and not said,
          f"{loss.returncode} {out} {said}")


def test_client(messages, d):
    """A real server takes the page's open and close."""
    line = Line(["augment", "-q", "-j1", "--size", "32", "--batch", "8", "data"], cwd=d, stdout=subprocess.PIPE)
    client = Client(line[0].stdout.readline().decode(), "test")
    shown = {m.said["kind"]: m.frames for m in messages}
    client.socket.send_multipart(shown["open"])
    schema = unpack(receive(client.socket, 20))
    client.socket.send_multipart(shown["close"])
    line.wait(20)
    check("augment takes the page's open and close", schema.kind == "schema" and line.codes == [0] and not line.stderr,
          f"{line.codes} {line.stderr}")


# (constant, what the page's number is more than it, the page's words)
LIMITS = (
    ("TICKET_MAX", 0, "less than {} bytes with its newline"), ("STAGE_NAME", -1, "name, at most {} bytes:"),
    ("ENDPOINT_MAX", -1, ", at most {} bytes."),
    ("WIRE_HEADER_MAX", 0, "one MessagePack map, at most {} bytes."), ("WIRE_VERSION", 0, "version ({})"),
    ("FRAME_MAX", 0, "at most {} gigabytes."),
    ("RECORD_SCALARS", 0, "named values; at most {},"), ("SCALAR_NAME", -1, "names of at most {} bytes"),
    ("SCALAR_TEXT", -1, "texts of at most {},"),
    ("TEXTS", 0, "all texts together {};"), ("RECORD_TENSORS", 0, "what the frames hold; at most {},"),
    ("RECORD_NAMES", 0, "what is asked for; at most {},"), ("TENSOR_NAME", -1, "name: at most {} bytes"),
    ("TENSOR_RANK", 0, "array of at most {} integers"),
    ("DEPTH_MAX", 0, "nesting deeper than {}"), ("CREDIT", 0, "at most {} wants open at a server"),
    ("WINDOW_MAX", 0, "steps behind ({},"),
    ("KEEP_MB", 0, "as many as {} megabytes"), ("PATIENCE", 0, "seconds of that ({})"),
    ("RECORD_FACTS", 0, "A schema has at most {} facts"),
    ("RECORD_CLIENT_FACTS", 0, "an open {},"), ("HEARTBEAT_LEAST", 0, "but at least {} and"),
    ("HEARTBEAT_MOST", 0, "at most {} seconds, for lost"),
    ("OWN_FACTS", 0, "{} of them encode's"), ("FACT_TEXTS", 0, "texts of {} bytes together"),
    ("CLIENT_FACT_TEXTS", 0, "with texts of {}."),
)


PREDICTORS = ["--predictor", "byol", "--predictor", "word=byol"]


def constants():
    """Of lib/stream: #defines, enums, and what stands there without a name."""
    found = {n: int(v) for n, v in re.findall(r"(?:#define (?=\w+ +\d)|\b)([A-Z][A-Z_]+)(?: = | +)(\d+)\b", SOURCES)}
    number = lambda pattern: int(re.search(pattern, SOURCES)[1])
    texts = number(r"char texts\[(\d+)\]")
    found.update(TEXTS=texts, STAGE_NAME=number(r"char stage\[(\d+)\]"),
                 FRAME_MAX=(1 << number(r"FRAME_MAX \(1LL << (\d+)\)")) >> 30,
                 KEEP_MB=number(r"keep_bytes = (\d+) << 20"), PATIENCE=number(r"patience = (\d+)"),
                 OWN_FACTS=content(f"{ROOT}/cmd/encode/train.c").decode().count('facts, FACT("'))
    share = texts // (found["RECORD_SCALARS"] + 1)
    return {**found, "FACT_TEXTS": share * found["RECORD_FACTS"], "CLIENT_FACT_TEXTS": share * found["RECORD_CLIENT_FACTS"]}


def test_limits():
    defined, flat = constants(), re.sub(r"\s+", " ", PAGE)
    for name, more, sentence in LIMITS:
        sentence = sentence.format(defined[name] + more)
        check(f"{name} is the page's", sentence in flat, sentence)


def names_of(schema):
    """Facts as they are, without a stage's name; offers and tensors with I for a digit, a predictor's word as such."""
    names = {re.sub(r"pword(?=I$)", "pWORD", re.sub(r"\d$", "I", n)) for n in [*schema.offers, *schema.tensors]}
    return {own(n) for n in schema.scalars if "." in n}, names


def own(fact):
    return fact.replace("fact.t.", "fact.")


def paired(names, types):
    """Names of one row of the table, each with its type; one type may be that of all."""
    names, types = names.split(", "), types.split(", ")
    return zip(names, types * len(names) if len(types) == 1 else types)


def test_names(d):
    """What real stages send: in front, trained, evaluating, as a teacher."""
    augment = ["augment", "-q", "-j1", "--size", "32", "--batch", "8", "data"]
    evaluation = augment[:1] + ["--eval", "--holdout", "3"] + augment[1:]
    net = ["encode", "-q", "-j1", "-a", "mobilenet_v3_small", "--small"]
    Line(augment, net + ["--until", "1", "-o", "run"], ["loss", "-q", "moco:k=64"], cwd=d).wait()
    model = ["-w", "run/model.safetensors"]
    facts, names, odd = set(), set(), []
    types = {n: t for ns, ts in re.findall(r"^\.It (fact\S.*?) Ta (.+?) Ta", PAGE, re.M) for n, t in paired(ns, ts)}
    Line(["augment", "-q", "--eval", "--size", "8", "data"], ["probe", "-q", "--on", "view", "bags:k=2"], cwd=d).wait()
    crops = augment + ["--crops", "2x16", "--mix", "0+1", "--bags", "bags.safetensors"]
    for stages in ([crops], [evaluation], [augment, net + PREDICTORS + ["-o", "fresh"]],
                   [augment, net + PREDICTORS + ["--as", "t", "-o", "along"]],
                   [evaluation, net + ["--eval"] + model], [augment, net + ["--frozen", "--as", "t"] + model]):
        line = Line(*stages, cwd=d, stdout=subprocess.PIPE)
        client = Client(line[-1].stdout.readline().decode(), "test")
        schema = client.open()
        found = names_of(schema)
        facts, names = facts | found[0], names | found[1]
        odd += [f"{n} is {type(v).__name__}" for n, v in schema.facts().items() if types.get(own(n)) != type(v).__name__]
        client.close()
        line.wait(20)
    said = set(re.findall(r"(?:fact|made)\.\w+", PAGE))
    said |= {f"fact.{n}" for n in re.findall(r"fact\.\w+, fact\.(\w+)", PAGE)}
    check("every fact that a stage sends is on the page", facts <= said, facts - said)
    check("and is of the type that stands there", not odd, odd)
    rest = said - facts - {"fact.loss", "made.labels"}     # from a loss; where augment is given a table
    check("and every fact on the page is sent", not rest, rest)
    table = set(re.findall(r"^\.It (\w+) Ta (?:u8|f32|i32|i64)", PAGE.split(".Sh NAMES")[1], re.M)) | {"lineage", "classes"}
    check("every name that a stage offers is on the page", names <= table, names - table)
    check("and every name on the page is offered", table <= names, table - names)


def test_left_out(d):
    """A front that gives the required facts alone, and one that gives what the page says they are then taken for."""
    defaults = {"seed": 0, "epochs": 2, "mean": "0,0,0", "std": "1,1,1"}
    required = ("views", "batch", "steps", "steps_per_epoch")
    rows = []
    for out, given in (("bare", {}), ("full", defaults)):
        facts = {n: given.get(n) for n in augment_peer.FACTS if n not in required}
        front = [sys.executable, f"{ROOT}/tests/pipe/augment_peer.py", f"ipc://{d}/{out}.socket"]
        net = ["encode", "-q", "-j1", "-a", "mobilenet_v3_small", "--small", "--dim", "16", "-o", out]
        line = Line(front, net, ["loss", "-q", "-j1", "moco:k=64"], cwd=d,
                    env=lines.environment(FACTS=json.dumps(facts))).wait(60)
        rows.append([{n: v for n, v in row.items() if n != "images_s"} for row in lines.json_lines(line.stdout)])
        check(f"{out} facts: the line ends well", line.codes == [0, 0, 0] and len(rows[-1]) == 21, f"{line.codes} {line.stderr}")
    check("facts that are left out are those of the page", rows[0] == rows[1], rows)
    flat = re.sub(r"\s+", " ", PAGE)
    check("which it names", all(f"{n} {v}" in flat for n, v in defaults.items() if n != "epochs")
          and "epochs steps/steps_per_epoch" in flat)


def main():
    messages = conversation()
    test_bytes(messages)
    for last in ("end", "fault"):
        test_conversation(messages, last)
    test_limits()
    with folder() as d:
        images(f"{d}/data", 24)
        test_client(messages, d)
        test_names(d)
        test_left_out(d)
    lines.done()


if __name__ == "__main__":
    os.environ.pop("SSH_CONNECTION", None)
    sys.exit(main())
