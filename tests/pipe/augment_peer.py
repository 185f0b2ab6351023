"""augment_peer.py ENDPOINT [DIE_AT] - an `augment` of 20 steps in Python: prints its ticket, serves noise that depends on
(seed, step, view) alone, and, when told to, kills itself with SIGKILL on the first want of step DIE_AT. $FACTS: others, as
JSON; null: without. $PART, i/n: it gives what a server of part i of n may be asked for, and dies of anything else. In a test's
own process: constant()."""
import contextlib
import json
import os
import signal
import sys
import threading

import numpy as np
from peer import DTYPES, Fault, Record, Server, demand, dtype_name

BATCH, SIZE, VIEWS, PER_EPOCH, EPOCHS, SEED = 8, 32, 2, 10, 2, 7
FACTS = {"data": "80-noise", "samples": BATCH * PER_EPOCH, "split": "train", "holdout": "", "recipe": "noise", "size": SIZE,
         "mean": "0.5,0.5,0.5", "std": "0.25,0.25,0.25", "views": VIEWS, "batch": BATCH, "steps_per_epoch": PER_EPOCH,
         "epochs": EPOCHS, "steps": EPOCHS * PER_EPOCH, "seed": SEED, "eval": False, **json.loads(os.environ.get("FACTS", "{}"))}
FACTS = {name: value for name, value in FACTS.items() if value is not None}
OFFERS = {**{f"view{i}": ("u8", (BATCH, SIZE, SIZE, 3)) for i in range(VIEWS)}, "index": ("i64", (BATCH,)),
          "label": ("i32", (BATCH,))}


def schema():
    lineage = np.frombuffer(b"augment noise\n", np.uint8)
    return Record("schema", {"version": 1, "incarnation": int.from_bytes(os.urandom(6), "little"), "stage": "augment",
                             "trained": False, **{f"fact.{k}": v for k, v in FACTS.items()}},
                  {"lineage": lineage, "classes": np.frombuffer(b"noise\n", np.uint8)}, OFFERS)


def make(name, step):
    dtype, shape = OFFERS[name]
    if name == "index":
        return np.arange(BATCH, dtype=np.int64) + BATCH * (step % PER_EPOCH)
    if name == "label":
        return np.zeros(shape, DTYPES[dtype])
    return np.random.default_rng((SEED, step, int(name[4:]))).integers(0, 256, shape, np.uint8)


def batch(want):
    step, part, parts = (want.scalars[k] for k in ("step", "part", "parts"))
    i, n = (int(x) for x in os.environ.get("PART", "0/1").split("/"))
    demand(parts % n == 0 and part * n // parts == i, f"part {part} of {parts} was asked of part {i} of {n}")
    rows = slice(part * BATCH // parts, (part + 1) * BATCH // parts)
    return Record("batch", {"step": step, "part": part, "parts": parts, "epoch": step // PER_EPOCH},
                  {name: make(name, step)[rows] for name in want.names})


@contextlib.contextmanager
def constant(arrays, **facts):
    """A server in a thread that gives these arrays at every step, of a batch's rows each, with other facts: its ticket."""
    server, rows = Server("augment", patience=20), len(next(iter(arrays.values())))
    answer = schema()
    answer.scalars.update({f"fact.{n}": v for n, v in {"batch": rows, **facts}.items()})
    answer.scalars = {n: v for n, v in answer.scalars.items() if v is not None}
    answer.offers = {n: (dtype_name(a), a.shape) for n, a in arrays.items()}

    def serve():
        with contextlib.suppress(Fault, TimeoutError):
            for who, r in server:
                part, parts = r.scalars.get("part", 0), r.scalars.get("parts", 1)
                cut = slice(part * rows // parts, (part + 1) * rows // parts)
                server.send(who, answer if r.kind == "open" else
                            Record("batch", {**r.scalars, "epoch": 0}, {n: arrays[n][cut] for n in r.names}))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield server.ticket
    thread.join()
    server.close()


def main(endpoint, die_at=None):
    server = Server("augment", endpoint)
    print(server.ticket + "\n", end="", flush=True)     # by one write: workers of a pool share the pipe
    for who, record in server:
        if record.kind == "want" and record.scalars["step"] == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        server.send(who, schema() if record.kind == "open" else batch(record))
    server.close()


if __name__ == "__main__":
    main(sys.argv[1], *(int(n) for n in sys.argv[2:]))
