"""encode --microbatch: steps in parts give the bytes of steps that are kept whole, with any loss, any workers and any
interruption, in the memory of a part.

FULL=1 also takes the size that it is made for: a batch of 4096 with mobilenet_v3_large at 224 within 3 GB, augment within 2 GB.
"""
import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import augment_peer
import lines
import numpy as np
import peer
from lines import Line, check, folder, images, safetensors, until
from peer import Client, Record, Server

FULL = os.environ.get("FULL", "") not in ("", "0")
STEPS = 3
OWN = ("lineage", "sprat.crc32")   # metadata that two equal runs of other command lines have each for itself
NET = ["encode", "-q", "-a", "mobilenet_v3_small", "--small", "--dim", "16", "--dropout", "0.2", "--save-every", "1"]
TEACHER = ["encode", "-q", "-j1", "-a", "mobilenet_v3_small", "--small", "--dim", "24", "--frozen", "--as", "t"]


def augment(batch, epochs=1):
    return ["augment", "-q", "-j1", "--size", "32", "--recipe", "moco-cifar", "--batch", str(batch), "--epochs", str(epochs),
            "-s", "3", "data"]


def go(d, out, batch, options, loss="moco:k={}", front=(), jobs=2, pool=1):
    line = Line([augment(batch)] * pool, *front, NET + [f"-j{jobs}", "-o", out, *options],
                ["loss", "-q", "-j1", loss.format(2 * batch)], cwd=d).wait()
    good = line.code == 0 and not line.words
    return check(f"a run with {' '.join(options) or 'no option'}", good, f"{line.codes} {line.stderr}")


def same(d, a, b):
    """Tensors of two checkpoints, and what stands beside them but for the command lines."""
    (x, m), (y, n) = (safetensors(f"{d}/{r}/checkpoint.safetensors") for r in (a, b))
    return list(x) == list(y) and all(x[k].tobytes() == y[k].tobytes() for k in x) and \
        {k: v for k, v in m.items() if k not in OWN} == {k: v for k, v in n.items() if k not in OWN}


def differing(d, a, b):
    x, y = (safetensors(f"{d}/{r}/checkpoint.safetensors")[0] for r in (a, b))
    return [k for k in x if k not in y or x[k].tobytes() != y[k].tobytes()][:4]


def in_pairs(case, items):
    """Lines wait most of the time: two at once."""
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(case, item) for item in items]:
            done.result()


def test_bytes():
    cases = [("even parts", 32, ["--bn-splits", "4"], ["--microbatch", "8"], {}),
             ("parts that do not divide", 22, ["--bn-splits", "5"], ["--microbatch", "5"], {"jobs": 1}),
             ("more parts than there must be", 16, ["--bn-splits", "8"], ["--bn-splits", "8", "--microbatch", "7"], {}),
             ("one row a part", 8, ["--bn-splits", "8"], ["--microbatch", "1"], {"jobs": 1}),
             ("a step that fits", 16, [], ["--microbatch", "16"], {}),
             ("a symmetric loss", 32, ["--bn-splits", "4"], ["--microbatch", "8"], {"loss": "moco:k={},sym=1"}),
             ("two workers", 32, ["--bn-splits", "4"], ["--microbatch", "8"], {"pool": 2}),
             ("a teacher in front", 16, ["--bn-splits", "2"], ["--microbatch", "8"], {"front": [TEACHER]})]
    with folder() as d:
        images(f"{d}/data", 32 * STEPS)
        def compare(i):
            name, batch, whole, parts, more = cases[i]
            if go(d, f"whole{i}", batch, whole, **more) and go(d, f"parts{i}", batch, parts, **more):
                check(f"{name}: the same bytes", same(d, f"whole{i}", f"parts{i}"), differing(d, f"whole{i}", f"parts{i}"))

        in_pairs(compare, range(len(cases)))
        check("workers change nothing", same(d, "parts0", "parts6"))
        (x, m), (_, n) = (safetensors(f"{d}/parts{i}/checkpoint.safetensors") for i in (0, 1))
        check("the number of parts is a fact of the run", (m["fact.bn_splits"], n["fact.bn_splits"]) == ("4", "5"), m)
        check("and matters", not same(d, "whole4", "whole2"))


def test_teacher():
    """What a teacher makes of parts reaches the loss as one step."""
    with folder() as d:
        images(f"{d}/data", 16)
        got = []
        for out, options in (("whole", ["--bn-splits", "2"]), ("parts", ["--microbatch", "8"])):
            line = Line(augment(16), TEACHER, NET + ["-j1", "-o", out, *options], cwd=d, stdout=subprocess.PIPE)
            client = Client(line[-1].stdout.readline().decode(), "loss")
            client.open()
            client.want(0, ["q0", "t0", "t1", "label", "index", "view1"])
            got.append(client.take().tensors)
            client.grad(0, {"q0": np.ones_like(got[-1]["q0"])}, {"loss": 0.0}, {"loss.none": np.zeros(1, np.int64)})
            client.close()
            check(f"a teacher in front of {out}", line.wait(30).codes == [0, 0, 0], f"{line.codes} {line.stderr}")
        a, b = got
        check("labels, numbers and views are gathered",
              all(np.array_equal(a[n], b[n]) for n in ("q0", "label", "index", "view1")))
        error = max(np.linalg.norm(a[n] - b[n]) / np.linalg.norm(a[n]) for n in ("t0", "t1"))
        check("and what the teacher makes of them", a["t0"].shape == (16, 24) and error < 1e-6, error)


def test_kills():
    """Each stage killed in a run, the same line given again."""
    stages = lambda out: (augment(32), NET + ["-j1", "-o", out, "--microbatch", "8"], ["loss", "-q", "-j1", "moco:k=64"])
    with folder() as d:
        images(f"{d}/data", 32 * 6)
        began = time.monotonic()
        check("a run of six steps", Line(*stages("whole"), cwd=d).wait().codes == [0] * 3)
        step = (time.monotonic() - began) / 8

        def kill(case):
            victim, moment, wait = case
            out = f"run{victim}{moment}"
            line = Line(*stages(out), cwd=d)
            until(lambda: line.steps() >= moment or line[-1].poll() is not None)
            time.sleep(wait * step)
            line.kill(victim)
            line.wait(20)
            again = Line(*stages(out), cwd=d).wait()
            check(f"{('augment', 'encode', 'loss')[victim]} killed {wait} into step {moment + 1}: the same line, the same end",
                  line.codes[victim] == -9 and len(line.words) <= 1 and again.codes == [0] * 3 and same(d, "whole", out),
                  f"{line.codes} {line.stderr} {again.codes} {again.stderr}")

        moments = [(v, *m) for v in range(3) for m in ((1, 0.3), (2, 0.6), (3, 0.7))]
        in_pairs(kill, moments if FULL else moments[::4])
        line = Line(*stages("asked"), cwd=d)
        until(lambda: line.steps() >= 2 or line[-1].poll() is not None)
        line.kill(1, sig=signal.SIGINT)
        check("asked to stop: a step is finished and saved", line.wait(20).code == 130 and "saved" in line.stderr,
              f"{line.codes} {line.stderr}")
        check("and the run goes on to the same end", Line(*stages("asked"), cwd=d).wait().codes == [0] * 3
              and same(d, "whole", "asked"))


# --- neighbours that lie ---


def behind(name, d, answer, steps=20, options=("-q", "--microbatch", "4"), batch=augment_peer.BATCH, size=augment_peer.SIZE):
    """encode behind an augment of which answer(wants so far, want) gives what to send, a list."""
    server, wants = Server("augment", patience=20), []

    def serve():
        try:
            for who, r in server:
                if r.kind == "open":
                    schema = augment_peer.schema()
                    schema.scalars.update({"fact.steps": steps, "fact.batch": batch, "fact.size": size})
                    schema.offers = {f"view{i}": ("u8", (batch, size, size, 3)) for i in range(2)}
                    server.send(who, schema)
                    continue
                wants.append(r)
                for made in answer(len(wants), r):
                    server.send(who, made)
        except (peer.Fault, TimeoutError):
            pass

    thread = threading.Thread(target=serve)
    thread.start()
    line = Line([w for w in NET if w != "-q"] + ["-j1", "-o", name.replace(" ", "-"), "--from", server.ticket, *options],
                ["loss", "-q", "-j1", f"moco:k={8 * batch}"], cwd=d)
    line.wait(30)
    thread.join()
    server.close()
    return line, wants


def lie(name, d, change, *parts):
    """The n-th batch is changed."""
    line, _ = behind(name, d, lambda n, want: [change(n - 1, want, augment_peer.batch(want))])
    check(name, line.code == 1 and len(line.words) == 1 and all(p in line.stderr for p in parts), f"{line.codes} {line.stderr}")


def test_ahead():
    """An augment that answers a want only when the next one has come: who asks ahead has no need to wait."""
    last, held = 2 * 8, []

    def answer(n, want):
        held.append(augment_peer.batch(want))
        return [held.pop(0) for _ in range(len(held) - (n < last))]

    with folder() as d:
        line, wants = behind("ahead", d, answer, steps=2)
        asked = [(w.scalars["step"], w.scalars["part"], w.scalars["parts"]) for w in wants]
        check("the next part is wanted before the one in hand has come, over the ends of steps too",
              line.codes == [0, 0] and len(asked) == last and
              [a[0] for a in asked] == [0] * 8 + [1] * 8, f"{line.codes} {line.stderr} {asked}")


def test_hint():
    """Records over 256 MB: two views of 224 have 301056 bytes, so 891 rows stay below."""
    fault = lambda n, want: [Record("fault", {"code": 9, "sentence": "enough"})]
    with folder() as d:
        line, _ = behind("large records", d, fault, options=(), batch=1024, size=224)
        check("large records earn a hint", line.code == 9 and "--microbatch 891" in line.stderr, f"{line.codes} {line.stderr}")
        line, wants = behind("parts", d, fault, options=("--microbatch", "891"), batch=1024, size=224)
        check("which helps", line.code == 9 and "MB" not in line.stderr and wants[0].scalars["parts"] == 2,
              f"{line.codes} {line.stderr}")


def test_liars():
    """Of a step in two parts: batches 0 and 1 for queries, 2 to 5 for keys, 6 and 7 for gradients."""
    def other_views(n, want, answer):
        if n == 7:
            answer.tensors["view0"] = answer.tensors["view0"][::-1].copy()
        return answer

    def a_row_less(n, want, answer):
        return Record("batch", answer.scalars, {k: a[:-1] for k, a in answer.tensors.items()}) if n == 1 else answer

    def other_parts(n, want, answer):
        if n == 3:
            answer.scalars["parts"] = 2
        return answer

    with folder() as d:
        lie("other views the second time", d, other_views, "part 1/2", "step 1", "second time")
        lie("a row less than the part has", d, a_row_less, "3 rows", "part 1/2")
        lie("an answer cut otherwise", d, other_parts, "another part of step 1 than")


def test_refusals():
    with folder() as d:
        images(f"{d}/data", 16)
        for name, options, parts in (("parts larger than the memory", ["--bn-splits", "2", "--microbatch", "4"],
                                      ["--bn-splits", "at least 4"]),
                                     ("more parts than rows", ["--bn-splits", "17"], ["17", "--batch"]),
                                     ("a part of less than nothing", ["--microbatch", "-1"], ["-1"])):
            line = Line(augment(16), NET + ["-j1", "-o", "run", *options], ["loss", "-q", "-j1", "moco:k=32"], cwd=d).wait(20)
            check(name, line.code == 2 and len(line.words) == 1 and all(p in line.stderr for p in parts),
                  f"{line.codes} {line.stderr}")
            check(f"{name}: nothing was begun", not os.path.exists(f"{d}/run/checkpoint.safetensors"))
        go(d, "run", 16, ["--microbatch", "8"])
        line = Line(augment(16), NET + ["-j1", "-o", "run", "--microbatch", "4"], ["loss", "-q", "-j1", "moco:k=32"],
                    cwd=d).wait(20)
        check("a run goes on with as many parts as it began with", line.code == 2 and "bn_splits '2'" in line.stderr, line.stderr)


# --- memory ---


def peaks(line, seconds):
    """Peak resident set of every stage in MB, watched until the line ends."""
    most, end = [0] * len(line.procs), time.monotonic() + seconds
    while any(p.poll() is None for p in line.procs) and time.monotonic() < end:
        for i, p in enumerate(line.procs):
            try:
                with open(f"/proc/{p.pid}/status") as f:
                    most[i] = max([most[i]] + [int(row.split()[1]) / 1024 for row in f if row.startswith("VmHWM")])
            except (FileNotFoundError, ProcessLookupError):
                pass
        time.sleep(0.01)
    line.wait(1)
    return most


def test_memory():
    with folder() as d:
        images(f"{d}/data", 256, size=24)
        stage = lambda batch: ["augment", "-q", "-j1", "--size", "96", "--batch", str(batch), "--epochs", "1", "--cache", "0",
                               "data"]
        measured = {} # a step each: what is held out is not trained on
        for name, batch, options in (("whole", 32, []), ("parts", 32, ["--microbatch", "16"]),
                                     ("more parts", 256, ["--microbatch", "16"])):
            subset = ["--holdout", str(256 - batch)] if batch < 256 else []
            line = Line(stage(batch) + subset, NET + ["-j1", "-o", name.replace(" ", "-"), *options],
                        ["loss", "-q", "-j1", f"moco:k={batch}"], cwd=d)
            measured[name] = peaks(line, 100)
            check(f"a step of {batch}, {name}", line.codes == [0] * 3, f"{line.codes} {line.stderr}")
        whole, parts, more = (measured[n] for n in ("whole", "parts", "more parts"))
        check("half a step at a time takes less memory", parts[1] < whole[1] - 20, measured)
        check("eight times the batch takes no more", more[1] < parts[1] + 10 and more[0] < parts[0] + 10, measured)


def test_real_size():
    """FULL=1 only: one step takes minutes."""
    with folder() as d:
        images(f"{d}/data", 64, classes=1, size=256)
        for i in range(64, 4096):
            os.link(f"{d}/data/class0/{i % 64:04d}.png", f"{d}/data/class0/{i:04d}.png")
        line = Line(["augment", "-q", "--batch", "4096", "--epochs", "1", "data"],
                    ["encode", "-q", "-a", "mobilenet_v3_large", "-o", "run", "--microbatch", "32"],
                    ["loss", "-q", "moco:k=4096"], cwd=d)
        most = peaks(line, 3000)
        check("a batch of 4096 at 224", line.codes == [0] * 3 and line.steps() == 1, f"{line.codes} {line.stderr}")
        check("encode within 3 GB, augment within 2 GB", most[1] < 3e9 / 2**20 and most[0] < 2e9 / 2**20, most)
        print(f"peaks in MB: augment {most[0]:.0f}, encode {most[1]:.0f}, loss {most[2]:.0f}; {line.seconds:.0f} seconds")


if __name__ == "__main__":
    test_bytes()
    test_teacher()
    test_kills()
    test_ahead()
    test_hint()
    test_liars()
    test_refusals()
    test_memory()
    if FULL:
        test_real_size()
    lines.done()
