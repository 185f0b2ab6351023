"""lib/stream/wire.5 says what is so: its conversation is held with the real loss byte by byte, its limits are the headers', and what sprat's
stages send of facts and names stands on it"""
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
from peer import DTYPES, Client, Server, pack, receive, unpack

PAGE = content(f"{ROOT}/lib/stream/wire.5").decode()
HEADERS = "".join(content(f"{ROOT}/lib/stream/{h}").decode() for h in ("record.h", "wire.h", "ticket.h"))


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
    kinds = [m.said["kind"] for m in messages]
    check("all kinds but fault are shown", set(kinds) == {"open", "schema", "want", "batch", "grad", "end", "close"}, kinds)


def close_to(ours, theirs):
    """The same keys and values; numbers up to rounding."""
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(close_to(v, theirs[k]) for k, v in ours.items())
    return abs(ours - theirs) < 1e-6 if isinstance(ours, float) else ours == theirs


def test_conversation(messages):
    """The page's server and the real loss: what loss sends are the page's bytes, what it is sent are too."""
    server = Server("encode")
    loss = subprocess.Popen([f"{lines.BIN}/loss", "-q", *messages[0].said["scalars"]["command"].split(" ")[1:]], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE)
    loss.stdin.write(f"{server.ticket}\n".encode())
    loss.stdin.close()
    for m in messages[:-1]:
        kind = m.said["kind"]
        if kind in ("schema", "batch", "end"):
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
    out = loss.stdout.read()
    server.close()
    check("and it ends well", loss.wait(20) == 0 and b'"step": 1' in out, f"{loss.returncode} {out}")


def test_limits():
    defined = {n: int(v) for n, v in re.findall(r"#define (\w+) +(\d+)\b", HEADERS)}
    flat = re.sub(r"\s+", " ", PAGE)
    for name, sentence in (("WIRE_HEADER_MAX", "at most {} bytes."), ("RECORD_SCALARS", "at most {}, names of at most"), ("TICKET_MAX", "less than {} bytes"),
                           ("RECORD_TENSORS", "what the frames hold; at most {},"), ("RECORD_NAMES", "what is asked for; at most {},"),
                           ("RECORD_FACTS", "A schema has at most {} facts"), ("RECORD_CLIENT_FACTS", "an open {},")):
        check(f"{name} is the page's", name in defined and sentence.format(defined[name]) in flat, f"{defined.get(name)}: {sentence}")


def names_of(schema):
    """Facts as they are, offers and tensors with I for a digit."""
    return {n for n in schema.scalars if "." in n}, {re.sub(r"\d$", "I", n) for n in [*schema.offers, *schema.tensors]}


def test_names(d):
    """What real stages send: in front, trained, evaluating, as a teacher."""
    augment = ["augment", "-q", "-j1", "--size", "32", "--batch", "8", "data"]
    evaluation = augment[:1] + ["--eval", "--holdout", "3"] + augment[1:]
    net = ["encode", "-q", "-j1", "-a", "mobilenet_v3_small", "--small"]
    Line(augment, net + ["--until", "1", "-o", "run"], ["loss", "-q", "moco:k=64"], cwd=d).wait()
    model = ["-w", "run/model.safetensors"]
    facts, names = set(), set()
    for stages in ([augment], [evaluation], [augment, net + ["-o", "fresh"]], [evaluation, net + ["--eval"] + model],
                   [augment, net + ["--frozen", "--as", "t"] + model]):
        line = Line(*stages, cwd=d, stdout=subprocess.PIPE)
        client = Client(line[-1].stdout.readline().decode(), "test")
        found = names_of(client.open())
        facts, names = facts | found[0], names | found[1]
        client.close()
        line.wait(20)
    said = set(re.findall(r"(?:fact|made)\.\w+", PAGE))
    said |= {f"fact.{n}" for n in re.findall(r"fact\.\w+, fact\.(\w+)", PAGE)}
    check("every fact that a stage sends is on the page", facts <= said, facts - said)
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
        line = Line(front, net, ["loss", "-q", "-j1", "moco:k=64"], cwd=d, env=lines.environment(FACTS=json.dumps(facts))).wait(60)
        rows.append([{n: v for n, v in row.items() if n != "images_s"} for row in lines.json_lines(line.stdout)])
        check(f"{out} facts: the line ends well", line.codes == [0, 0, 0] and len(rows[-1]) == 21, f"{line.codes} {line.stderr}")
    check("facts that are left out are those of the page", rows[0] == rows[1], rows)
    flat = re.sub(r"\s+", " ", PAGE)
    check("which it names", all(f"{n} {v}" in flat for n, v in defaults.items() if n != "epochs") and "epochs steps/steps_per_epoch" in flat)


def main():
    messages = conversation()
    test_bytes(messages)
    test_conversation(messages)
    test_limits()
    with folder() as d:
        images(f"{d}/data", 24)
        test_names(d)
        test_left_out(d)
    lines.done()


if __name__ == "__main__":
    os.environ.pop("SSH_CONNECTION", None)
    sys.exit(main())
