"""A ticket that leads nowhere: every client ends within its patience, with one sentence that names the endpoint, and status 3
(2 where the ticket cannot be right)."""
import contextlib

import lines
import zmq
from lines import Line, check, folder

PATIENCE, SLACK = 1, 45   # seconds; for a busy machine
CLIENTS = {"encode": ["encode", "-q", "-j1", "-a", "mobilenet_v3_small", "--patience", str(PATIENCE)],
           "encode --eval": ["encode", "-q", "-j1", "--eval", "-a", "mobilenet_v3_small", "--patience", str(PATIENCE)],
           "loss": ["loss", "-q", "-j1", "--patience", str(PATIENCE), "moco:k=32"],
           "probe": ["probe", "-q", "-j1", "--patience", str(PATIENCE), "knn"]}


def socket(kind, curve=False):
    """A bound socket on a free port, its endpoint and public key."""
    s = zmq.Context.instance().socket(kind)
    s.linger = 0
    public = b""
    if curve:
        public, s.curve_secretkey = zmq.curve_keypair()
        s.curve_server = True
    return s, f"tcp://127.0.0.1:{s.bind_to_random_port('tcp://127.0.0.1')}", public.decode()


def start(d, ticket):
    return {name: Line(["printf", "%s\\n", f"sprat1 encode {ticket}"], command, cwd=d) for name, command in CLIENTS.items()}


def test_nowhere(d):
    with contextlib.ExitStack() as keep:
        plain, at, _ = socket(zmq.ROUTER)
        curved, there, key = socket(zmq.ROUTER, curve=True)
        other = zmq.curve_keypair()[0].decode()
        for s in (plain, curved):
            keep.callback(s.close)
        cases = {"a port that nobody serves": ("tcp://127.0.0.1:1", 3, "nobody answers"),
                 "a host that has no address": ("tcp://no-such-host.invalid:5555", 3, "nobody answers"),
                 "a unix socket that nobody serves": ("ipc:///tmp/no/such/socket", 3, "nobody answers"),
                 "a server's key that is missing": (there, 3, "curve="),
                 "a server's key that is another's": (f"{there} curve={other}", 3, "curve="),
                 "a key for a server that has none": (f"{at} curve={key}", 3, "curve="),
                 "a server that sends no schema": (at, 3, "no schema"),
                 "a key that is none": (f"tcp://127.0.0.1:1 curve={40 * chr(34)}", 2, "key"),
                 "no port": ("tcp://127.0.0.1", 2, "HOST:PORT"), "no path": ("ipc://", 2, "HOST:PORT"),
                 "another scheme": ("http://x", 2, "HOST:PORT")}
        for name, (ticket, code, part) in cases.items():
            started = start(d, ticket)
            for client, line in started.items():
                line.wait(PATIENCE + SLACK)
                where = "key" if part == "key" else ticket.split()[0]
                check(f"{client} given {name}", line.code == code and len(line.words) == 1 and part in line.stderr
                      and where in line.stderr,
                      f"status {line.code} after {line.seconds:.1f} s, said {line.stderr!r}")
                if client.startswith("encode"):
                    check(f"{client} given {name}: the next stage is told", line.stdout.startswith(f"sprat1 fault {code} "),
                          line.stdout)


if __name__ == "__main__":
    with folder() as d:
        test_nowhere(d)
    lines.done()
