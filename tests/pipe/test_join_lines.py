"""Whole lines behind servers of parts that are not trained give the bytes that one server gives: augment's answers fit any
ticket, so its own gets a word more. A part that dies may come back."""
import os
import socket
import subprocess
import sys
import time

import augment_peer
import lines
import numpy as np
from lines import Line, check, content, folder, images
from peer import Record, Server, pack, unpack
from ranks import rows

def part_of(command, i, n):
    """augment as the server of a part: its answers are the same, its ticket has a word more."""
    words = " ".join(f"'{x}'" for x in [f"{lines.BIN}/augment", *command[1:]])
    return ["sh", "-c", f"{words} | sed -u 's|$| part={i}/{n}|'"]


def in_parts(command, n):
    return [part_of(command, i, n) for i in range(n)] if n > 1 else command


def test_evaluation(d):
    """49 samples in batches of 8: the last one has a row, and no part of most servers."""
    augment = ["augment", "-q", "-j1", "--eval", "--size", "32", "--batch", "8", "--holdout", "9", "data"]
    encode = ["encode", "-q", "-j1", "--eval", "-a", "mobilenet_v3_small", "--small", "--patience", "5"]
    probe = ["probe", "-q", "-j1", "--patience", "5", "knn:k=3"]
    for name, counts, stages in (("probe", (2, 3, 5), [probe[:3] + ["--on", "view"] + probe[3:]]),
                                 ("encode | probe", (3,), [encode, probe])):
        want = Line(augment, *stages, cwd=d).wait(60)
        for n in counts:
            have = Line(in_parts(augment, n), *stages, cwd=d).wait(60)
            check(f"{name} behind an evaluation in {n} parts", have.codes == [0] * (n + len(stages)) and want.stdout
                  and have.stdout == want.stdout and not have.words, f"{have.codes} {have.stderr} {have.stdout} {want.stdout}")


TRAIN = ["augment", "-q", "-j1", "--size", "32", "--recipe", "mocov2", "--batch", "8", "--epochs", "2", "-s", "5", "data"]
ENCODE = ["encode", "-q", "-j1", "-a", "mobilenet_v3_small", "--small", "--dim", "16", "--patience", "5", "-o"]
LOSS = ["loss", "-q", "-j1", "moco:k=64"]


def test_training(d):
    """Wants of parts of a step, too: they need not be parts of the servers' parts."""
    for options, counts in (([], (1, 2)), (["--microbatch", "3"], (1, 2, 3))):
        name, saved = " ".join(["encode", *options]), {}
        for n in counts:
            out = f"run{n}{''.join(options)}"
            line = Line(in_parts(TRAIN, n), ENCODE + [out, *options], LOSS, cwd=d).wait(90)
            check(f"{name} behind {n} parts trains", line.codes == [0] * (n + 2) and line.steps() == 12,
                  f"{line.codes} {line.stderr}")
            saved[n] = [content(f"{d}/{out}/{x}.safetensors") for x in ("checkpoint", "model")]
        check(f"{name}: to the same bytes", all(files == saved[1] for files in saved.values()))


# --- a part that dies and is back ---


def peer(path, part, *die_at):
    p = subprocess.Popen([sys.executable, f"{lines.ROOT}/tests/pipe/augment_peer.py", path, *map(str, die_at)],
                         stdout=subprocess.PIPE, env=lines.environment(PART=f"{part}/2"))
    return p, p.stdout.readline().decode().strip()


def peers(d, name, back):
    """20 steps of three parts behind two parts; the second one dies at step 9. back: how another
    one comes, "redialled" or "ticket"."""
    os.mkfifo(f"{d}/{name}")
    line = Line(["cat", name], ENCODE + [f"run-{name}", "--microbatch", "3"], LOSS, cwd=d)
    at = [f"tcp://127.0.0.1:{free_port()}" if back == "redialled" else f"ipc://{d}/{name}{i}" for i in range(2)]
    kept = [peer(at[0], 0), peer(at[1], 1, *([9] if back else []))]
    with open(f"{d}/{name}", "w") as pipe:
        print(*(f"{t} part={i}/2" for i, (_, t) in enumerate(kept)), sep="\n", file=pipe, flush=True)
        if back:
            kept[1][0].wait(60)
            kept[1] = peer(at[1] if back == "redialled" else f"ipc://{d}/{name}-again", 1)
        if back == "ticket":
            print(f"{kept[1][1]} part=1/2", file=pipe, flush=True)
    line.wait(60)
    return line, [p.wait(20) for p, _ in kept], [content(f"{d}/run-{name}/{x}.safetensors") for x in ("checkpoint", "model")]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_return(d):
    whole, _, want = peers(d, "undisturbed", None)
    check("20 steps behind two parts", whole.codes == [0, 0, 0] and whole.steps() == 20, f"{whole.codes} {whole.stderr}")
    for back in ("redialled", "ticket"):
        line, status, have = peers(d, back, back)
        check(f"20 steps, a part dies and is back ({back})", line.codes == [0, 0, 0] and line.steps() == 20 and status == [0, 0]
              and not line.words, f"{line.codes} {status} {line.stderr}")
        check(f"a part dies and is back ({back}): the same bytes", have == want)


# --- how many wants are open ---


def test_credit(d):
    """Two open at each server, although it takes both of them for one answer; never more."""
    schema = augment_peer.schema()
    schema.scalars.update({"fact.eval": True, "fact.steps": 6, "fact.samples": 6 * augment_peer.BATCH})
    schema.offers = {**schema.offers, "split": ("i32", (augment_peer.BATCH,))}
    servers = [Server("augment") for _ in range(2)]
    line = Line(["probe", "-q", "-j1", "--on", "view", "knn:k=1"] +
                [x for i, s in enumerate(servers) for x in ("--from", f"{s.ticket} part={i}/2")], cwd=d)
    most, waiting, given = 0, [[], []], [0, 0]
    end = time.monotonic() + 20
    while line[-1].poll() is None and time.monotonic() < end:
        for i, s in enumerate(servers):
            while s.socket.poll(20):
                who, *frames = s.socket.recv_multipart()
                r = unpack(frames)
                waiting[i] += [(who, r)] * (r.kind == "want")
                if r.kind == "open":
                    s.socket.send_multipart([who] + pack(schema))
        most = max(most, *map(len, waiting))
        if all(len(w) == min(2, 6 - g) for w, g in zip(waiting, given)):   # nothing is answered before both have as many
            for i, s in enumerate(servers):
                for who, r in waiting[i]:
                    part = r.scalars["part"]
                    answer = {x: np.zeros(augment_peer.OFFERS.get(x, (0, (8,)))[1], np.int64 if x == "index" else
                                          np.uint8 if x.startswith("view") else np.int32)[rows(8, part, 2)] for x in r.names}
                    if "split" in answer:
                        answer["split"] += np.arange(len(answer["split"]), dtype=np.int32) % 2
                    s.socket.send_multipart([who] + pack(Record("batch", {**r.scalars, "epoch": 0}, answer)))
                given[i] += len(waiting[i])
                waiting[i] = []
    line.abandon()
    check("two wants are open at each of two parts, and never more", most == 2 and given == [6, 6],
          f"{most} {given} {line.stderr}")
    for s in servers:
        s.close()


if __name__ == "__main__":
    with folder() as d:
        images(f"{d}/data", 49)
        test_evaluation(d)
        test_training(d)
        test_return(d)
        test_credit(d)
    lines.done()
