"""A stage that waits costs nothing: under 0.1 s of processor time in ten seconds, whatever it waits for."""
import os
import subprocess
import time

import augment_peer
import lines
import numpy as np
from lines import Line, check, folder, images
from peer import Client, Record, Server, receive

SECONDS, MOST = 10, 0.1
AUGMENT = ["augment", "-q", "--size", "32", "--recipe", "moco-cifar", "--batch", "8", "--epochs", "1", "--patience", "300"]
ENCODE = ["encode", "-q", "-a", "mobilenet_v3_small", "--small", "--dim", "16", "--patience", "300"]
LOSS = ["loss", "-q", "--patience", "300"]
PROBE = ["probe", "-q", "--patience", "300"]


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        words = f.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


class Silent:
    """A server that answers `open` and nothing else."""

    def __init__(self, stage, schema):
        self.server, self.schema = Server(stage), schema

    def greet(self):
        who = receive(self.server.socket, 20)[0]
        self.server.send(who, self.schema)
        receive(self.server.socket, 20)


def loss_schema():
    return Record("schema", {"version": 1, "incarnation": 1, "stage": "encode", "trained": True, "first_step": 0, "fact.seed": 1,
                             "fact.steps": 9, "fact.batch": 8}, {}, {n: ("f32", (8, 16)) for n in ("q0", "k1")})


def probe_schema():
    facts = {**augment_peer.FACTS, "eval": True, "split": "all"}
    offers = {"feature0": ("f32", (8, 16)), "q0": ("f32", (8, 16)), "label": ("i32", (8,)), "split": ("i32", (8,)),
              "index": ("i64", (8,)),
              "name": ("u8", (8, 32))}
    return Record("schema", {"version": 1, "incarnation": 1, "stage": "encode", "trained": False,
                             **{f"fact.{k}": v for k, v in facts.items()}}, {"classes": np.frombuffer(b"a\nb\n", np.uint8)},
                  offers)


def step_taken(line):
    """Plays the loss up to the moment at which encode waits for its gradient."""
    client = Client(line[1].stdout.readline().decode(), "loss")
    client.open()
    client.want(0, ["q0", "k1"])
    client.take()
    return client


def eval_taken(line):
    client = Client(line[1].stdout.readline().decode(), "probe")
    client.open()
    client.want(0, ["feature0"])
    client.take()
    return client


def start_all(d):
    """What waits for what: {description: pid}, and everything that must stay alive."""
    keep, waiting = [], {}
    line = Line(AUGMENT + ["data"], cwd=d, stdout=subprocess.PIPE)
    waiting["augment for a client"] = line[0].pid
    keep.append(line)
    line = Line(AUGMENT + ["data"], ENCODE + ["-o", "run"], cwd=d, stdout=subprocess.PIPE)
    keep += [line, step_taken(line)]
    waiting["augment for a want"], waiting["encode for a gradient"] = line[0].pid, line[1].pid
    line = Line(AUGMENT + ["data"], ENCODE + ["-o", "run2"], cwd=d, stdout=subprocess.PIPE)
    line[1].stdout.readline()
    waiting["encode for a client"] = line[1].pid
    keep.append(line)
    line = Line(AUGMENT + ["--eval", "data"], ENCODE + ["--eval"], cwd=d, stdout=subprocess.PIPE)
    keep += [line, eval_taken(line)]
    waiting["encode --eval for a want"] = line[1].pid
    for name, command, schema in (("loss", LOSS + ["moco:k=64"], loss_schema()), ("probe", PROBE + ["knn"], probe_schema())):
        silent = Silent("encode", schema)
        line = Line(command + ["--from", silent.server.ticket], cwd=d)
        silent.greet()
        waiting[f"{name} for a batch"] = line[0].pid
        keep += [silent, line]
    for name, command in (("encode", ENCODE), ("loss", LOSS + ["moco:k=64"]), ("probe", PROBE + ["knn"])):
        line = Line(["sleep", "100"], command, cwd=d)
        waiting[f"{name} for a ticket"] = line[1].pid
        keep.append(line)
        line = Line(command + ["--from", "sprat1 x tcp://127.0.0.1:9"], cwd=d)
        waiting[f"{name} for a host that is down"] = line[0].pid
        keep.append(line)
    return waiting, keep


def main():
    with folder() as d:
        images(f"{d}/data", 24)
        waiting, keep = start_all(d)
        time.sleep(1)
        before = {name: cpu_seconds(pid) for name, pid in waiting.items()}
        time.sleep(SECONDS)
        for name, pid in waiting.items():
            alive = lines.alive(pid)
            used = cpu_seconds(pid) - before[name] if alive else None
            check(f"{name}: {SECONDS} s cost {used} s", alive and used < MOST, "it ended" if not alive else f"{used} s")
        for x in keep:
            if isinstance(x, Line):
                x.abandon()
    lines.done()


if __name__ == "__main__":
    main()
