"""python/sprat.py and its examples in lines with sprat's own programs: what they compute, and how they end"""
import os
import shutil
import signal
import subprocess
import sys

import lines
import numpy as np
from lines import ROOT, Line, check, content, folder, images, json_lines, safetensors, skip, until
from peer import Client

PYTHON = sys.executable
AUGMENT = ["augment", "-q", "-j1", "--size", "32", "--batch", "8", "--epochs", "4", "-s", "2", "data"]
ENCODE = ["encode", "-q", "-j1", "-a", "mobilenet_v3_small", "--small", "--dim", "16", "--save-every", "5", "-o"]
EXAMPLES = f"{ROOT}/python/examples"

# A loss in numpy whose state is the sum of what it has seen; SLOW and BAD spoil it.
LOSS = """
import os, sys, time
import numpy as np
from sprat import Stage
seen = np.zeros(16, np.float32)

def step(batch):
    global seen
    q, t = batch["q0"], batch["t0"] if "t0" in NAMES else np.roll(batch["q0"], 1, 0)
    time.sleep(float(os.environ.get("SLOW", 0)))
    if batch["step"] == int(os.environ.get("BAD", -1)):
        raise ValueError("no such luck")
    seen = seen + q.mean(0)
    if "KEEP" in os.environ:
        np.savez(os.environ["KEEP"], **batch.tensors)
    return {"q0": ((q - t[:, :16] + seen) / len(q)).astype(np.float32)}, {"loss": float(np.square(q).mean())}

def restore(state):
    global seen
    seen = state["seen"]

NAMES = sys.argv[1:]
with Stage("pull", facts={"loss": "pull"}, patience=float(os.environ.get("PATIENCE", 60))) as stage:
    stage.train(NAMES, step, lambda: {"seen": seen}, restore)
"""

# A front of its own: noise that depends on the step alone.
FRONT = """
import os, sys, time
import numpy as np
from sprat import Stage

FACTS = dict(data="noise", samples=80, split="train", recipe="noise", size=32, mean="0.5,0.5,0.5", std="0.25,0.25,0.25", views=2,
             batch=8, steps_per_epoch=10, epochs=2, steps=20, seed=7, eval=False)

def make(batch):
    time.sleep(float(os.environ.get("SLOW", 0)))
    draw = lambda name: np.random.default_rng((batch["step"], ord(name[-1]))).integers(0, 256, (8, 32, 32, 3), np.uint8)
    return {n: draw(n)[batch.rows.start:batch.rows.stop] for n in batch.names}

with Stage("noise", serves=True, facts=FACTS, bind=os.environ.get("BIND", "")) as stage:
    print("a word on standard output")
    stage.serve(make, {"view0": ("u8", 8, 32, 32, 3), "view1": ("u8", 8, 32, 32, 3)})
"""

# In the middle, in numpy: the mean colour as a feature.
MIDDLE = """
from sprat import Stage
with Stage("colours", serves=True) as stage:
    shape = ("f32", stage.connect()["fact.batch"], 3)
    stage.serve(lambda batch: {"feature0": batch["view0"].mean((1, 2), dtype="f4")}, {"feature0": shape}, needs=["view0"])
"""
SCRIPTS = {"loss.py": LOSS, "front.py": FRONT, "middle.py": MIDDLE}


def script(name, *words):
    return ["env", f"PYTHONPATH={ROOT}/python", PYTHON, name, *words]


def example(name, *words):
    return [PYTHON, f"{EXAMPLES}/{name}", *words]


def run_files(d, run):
    return {f: content(f"{d}/{run}/{f}") for f in ("checkpoint.safetensors", "model.safetensors")}


def words_of(line):
    return line.stderr.replace("a word on standard output\n", "").strip().split("\n")


def test_loss(d, whole):
    check("a loss in Python: a line that ends well", whole.codes == [0, 0, 0], f"{whole.codes} {whole.stderr}")
    rows = json_lines(whole.stdout)
    check("a line of JSON a step", [r["step"] for r in rows] == list(range(1, 25)) and all(np.isfinite(r["loss"]) for r in rows),
          whole.stdout)
    tensors, _ = safetensors(f"{d}/whole/checkpoint.safetensors")
    check("encode keeps its state", tensors["loss.seen"].shape == (16,) and np.abs(tensors["loss.seen"]).max() > 0,
          list(tensors)[-3:])


def test_kills(d, loss):
    whole = run_files(d, "whole")
    for which, name in enumerate(("augment", "encode", "the loss")):
        run = f"killed{which}"
        line = Line(AUGMENT, ENCODE + [run], loss, cwd=d, env=lines.environment(SLOW="0.05"))
        until(lambda line=line: line.steps() >= 8)
        line.kill(which)
        line.wait(30)
        check(f"{name} killed: all end, the loss with 3", line.codes[which] == -9 and (which == 2 or line.codes[2] == 3),
              f"{line.codes} {line.stderr}")
        again = Line(AUGMENT, ENCODE + [run], loss, cwd=d).wait(60)
        check(f"{name} killed: the same line again ends in the same bytes",
              again.codes == [0, 0, 0] and run_files(d, run) == whole,
              f"{again.codes} {again.stderr}")


def test_ends(d, loss):
    before = {f for f in os.listdir(d) if f.startswith("sprat-wire-")}     # of servers that were killed
    line = Line(AUGMENT, ENCODE + ["int"], loss, cwd=d, env=lines.environment(SLOW="0.05"))
    until(lambda: line.steps() >= 8)
    line.kill(2, sig=signal.SIGINT)
    line.wait(30)
    check("SIGINT at the loss: saved, 130", line.codes[1:] == [130, 130] and "saved in" in line.stderr,
          f"{line.codes} {line.stderr}")
    line = Line(AUGMENT, ENCODE + ["bad"], loss, cwd=d, env=lines.environment(BAD="6")).wait(30)
    said = [w for w in line.stderr.split("\n") if "no such luck" in w and ":" in w and not w.startswith(("ValueError", " "))]
    check("an exception: one sentence for the line, 1 everywhere",
          line.codes == [1, 1, 1] and said == ["pull: ValueError: no such luck"],
          f"{line.codes} {line.stderr}")
    line = Line(["echo", "sprat1 fault 42 nothing to see"], loss, cwd=d).wait(20)
    check("a fault ticket is passed on in silence", line.codes == [0, 42] and not line.stderr, f"{line.codes} {line.stderr}")
    line = Line(["echo", "loading data..."], loss, cwd=d).wait(20)
    check("what is no ticket is said", line.code == 2 and "no ticket" in line.stderr and len(words_of(line)) == 1,
          f"{line.code} {line.stderr}")
    line = Line(AUGMENT, loss, cwd=d).wait(20)
    check("a loss needs a trained stage", line.code == 2 and "encode -o" in line.stderr and len(words_of(line)) == 1,
          f"{line.code} {line.stderr}")
    line = Line(["true"], loss, cwd=d).wait(20)
    check("no ticket at all", line.code == 3 and "no ticket came" in line.stderr, f"{line.code} {line.stderr}")
    line = Line(script("front.py"), ["true"], cwd=d).wait(20)
    check("a server whose reader is gone ends", line.codes == [3, 0], f"{line.codes} {line.stderr}")
    left = {f for f in os.listdir(d) if f.startswith("sprat-wire-")} - before
    check("no socket is left behind", not left, left)


def test_front(d, loss):
    runs = {}
    front, tcp = script("front.py"), ["env", "BIND=tcp://127.0.0.1:*"] + script("front.py")
    for name, fronts, slow in (("one", [front], "0"), ("tcp", [tcp], "0"), ("pool", [front, front], "0.2"),
                               ("hurt", [front, front], "0.2")):
        line = Line(fronts, ENCODE + [name], loss, cwd=d, env=lines.environment(SLOW=slow))
        if name == "hurt":
            until(lambda line=line: line.steps() >= 6)
            line.kill(0)
        line.wait(60)
        runs[name] = run_files(d, name)
        rest = line.codes[1:] if name == "hurt" else line.codes
        check(f"a front in Python: {name}", not any(rest), f"{line.codes} {line.stderr}")
    meta = safetensors(f"{d}/one/model.safetensors")[1]
    check("its facts and command are in the model", "noise" in str(meta) and "32" in str(meta), meta)
    check("over tcp with keys, by two, and by two of which one was killed: the same bytes",
          all(r == runs["one"] for r in runs.values()))


def test_ticket(d, loss):
    """Keys of another, and a port where nobody is."""
    line = Line(["env", "BIND=tcp://127.0.0.1:*"] + script("front.py"), cwd=d, stdout=subprocess.PIPE)
    ticket = line[0].stdout.readline().decode().strip()
    check("a ticket over tcp carries a key", ticket.startswith("sprat1 noise tcp://127.0.0.1:") and " curve=" in ticket, ticket)
    wrong = Line(["echo", ticket[:-40] + "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"], script("middle.py"),
                 ["probe", "-q", "metrics"], cwd=d).wait(30)
    check("a wrong key: all end, one sentence that names the address", wrong.codes[1] == 3 and wrong.code == 3
          and ticket.split()[2] in wrong.stderr
          and len(words_of(wrong)) == 1, f"{wrong.codes} {wrong.stderr}")
    nobody = Line(["echo", "sprat1 noise tcp://127.0.0.1:1"], script("middle.py"), ["probe", "-q", "metrics"], cwd=d).wait(30)
    check("nobody there: the same", nobody.codes[1] == 3 and nobody.code == 3 and "127.0.0.1:1" in nobody.stderr
          and len(words_of(nobody)) == 1,
          f"{nobody.codes} {nobody.stderr}")
    client = Client(ticket, "loss")
    schema = client.open()
    client.want(0, ["view0"])
    batch = client.take().tensors["view0"]
    client.close()
    line.wait(20)
    check("a client written from the page alone is served", batch.shape == (8, 32, 32, 3) and schema.scalars["fact.batch"] == 8
          and line.codes == [0],
          line.codes)


def test_middle(d):
    evaluation = ["augment", "-q", "-j1", "--eval", "--size", "32", "--batch", "8", "--holdout", "3", "data"]
    line = Line(evaluation, script("middle.py"), ["probe", "-q", "export:file=colours.npy"], cwd=d).wait(30)
    check("a stage in the middle: probe reads it", line.codes == [0, 0, 0], f"{line.codes} {line.stderr}")
    kept = np.load(f"{d}/colours.npy")
    check("all of its features", kept["feature0"].shape == (48, 3) and sorted(kept["index"]) == list(range(48)), kept.dtype)
    line = Line(evaluation, script("middle.py"), cwd=d, stdout=subprocess.PIPE)
    client = Client(line[1].stdout.readline().decode(), "probe")
    schema = client.open()
    client.want(0, ["feature0", "view0", "label", "index"])
    got = client.take().tensors
    client.close()
    line.wait(20)
    check("what it makes, and what passes", np.allclose(got["feature0"], got["view0"].mean((1, 2)), atol=1e-4)
          and len(got["label"]) == 8 and
          schema.offers["feature0"] == ("f32", (8, 3)), got)
    lineage = schema.text("lineage").split("\n")
    check("its command is in the lineage", lineage[0].startswith("augment") and lineage[1].startswith("colours"), lineage)
    line = Line(evaluation, script("middle.py"), cwd=d, stdout=subprocess.PIPE)
    ticket = line[1].stdout.readline().decode()
    first, second = Client(ticket, "one"), Client(ticket, "two")
    for c in (first, second):
        c.open()
    first.want(0, ["nothing"])
    try:
        first.take()
        check("a name that nobody has is refused", False, "it came")
    except Exception as e:
        check("a name that nobody has is refused", "nothing" in str(e), e)
    second.want(1, ["feature0"])
    check("while the other client is served on", second.take().tensors["feature0"].shape == (8, 3))
    second.close()
    line.wait(20)
    check("and its goodbye ends all", line.codes == [0, 0], f"{line.codes} {line.stderr}")


def test_killed_front(d):
    line = Line(AUGMENT, script("middle.py"), cwd=d, stdout=subprocess.PIPE)
    client = Client(line[1].stdout.readline().decode(), "probe")
    client.open()
    line.kill(0)
    try:
        client.take_any()
        check("augment killed: the stage behind it says so", False, "something came")
    except Exception as e:
        check("augment killed: the stage behind it says so", "vanished" in str(e), e)
    line.wait(20)
    check("and ends with 3, in one sentence", line.codes[1] == 3 and len(words_of(line)) == 1, f"{line.codes} {line.stderr}")


# --- the examples, in PyTorch ---


def test_examples(d, torch):
    sys.path[:0] = [EXAMPLES, f"{ROOT}/python"]
    from nets import make_net, normalised
    torch.manual_seed(0)
    net = make_net("mobilenet_v3_small")
    torch.save(__import__("torchvision").models.mobilenet_v3_small().state_dict(), f"{d}/net.pth")
    net = make_net("mobilenet_v3_small", f"{d}/net.pth")
    env = lines.environment(KEEP=f"{d}/last.npz")
    line = Line(AUGMENT, example("teacher.py", "mobilenet_v3_small", "net.pth"), ENCODE + ["taught"],
                script("loss.py", "q0", "t0", "view0"), cwd=d,
                env=env).wait(120)
    check("a teacher in PyTorch: the line ends well", line.codes == [0] * 4, f"{line.codes} {line.stderr}")
    kept, facts = np.load(f"{d}/last.npz"), {"fact.mean": "0.485,0.456,0.406", "fact.std": "0.229,0.224,0.225"}
    with torch.no_grad():
        truth = net(normalised(kept["view0"], facts)).numpy()
    check("t0 is what PyTorch makes of the view that the loss was given", np.allclose(kept["t0"], truth, rtol=1e-4, atol=1e-4),
          np.abs(kept["t0"] - truth).max())
    evaluation = ["augment", "-q", "-j1", "--eval", "--size", "32", "--batch", "8", "--holdout", "9", "data"]
    line = Line(evaluation, example("features.py", "mobilenet_v3_small", "net.pth"), ["probe", "-q", "knn:k=1"], cwd=d).wait(60)
    check("probe knn of a network in PyTorch", line.codes == [0] * 3 and "knn" in line.stdout,
          f"{line.codes} {line.stdout} {line.stderr}")
    line = Line(evaluation, example("features.py", "mobilenet_v3_small", "net.pth"), cwd=d, stdout=subprocess.PIPE)
    client = Client(line[1].stdout.readline().decode(), "probe")
    client.open()
    client.want(2, ["view0", "feature0"])
    got = client.take().tensors
    client.close()
    line.wait(30)
    with torch.no_grad():
        truth = net(normalised(got["view0"], facts)).numpy()
    check("feature0 is what PyTorch makes of view0", np.allclose(got["feature0"], truth, rtol=1e-4, atol=1e-4),
          np.abs(got["feature0"] - truth).max())
    line = Line(AUGMENT, ENCODE + ["infonce"], example("loss.py", "0.2", "64"), cwd=d).wait(60)
    rows = json_lines(line.stdout)
    check("a loss in PyTorch: the line ends well", line.codes == [0] * 3 and len(rows) == 24 and 1 < rows[0]["loss"] < 10,
          f"{line.codes} {line.stderr}")
    line = Line(AUGMENT, example("loader.py"), cwd=d).wait(60)
    check("augment as a loader", line.codes == [0, 0] and "192 images" in line.stdout
          and "epoch 4: 2 views of (8, 3, 32, 32)" in line.stdout,
          f"{line.codes} {line.stdout} {line.stderr}")
    line = Line(AUGMENT, example("features.py", "nonet"), ["probe", "knn"], cwd=d).wait(60)
    check("a network that is not there: one sentence, 2", line.codes[1:] == [2, 2] and len(words_of(line)) == 1,
          f"{line.codes} {line.stderr}")


def main():
    with folder() as d:
        os.environ["TMPDIR"] = d
        os.environ.pop("XDG_RUNTIME_DIR", None)
        images(f"{d}/data", 48)
        for name, text in SCRIPTS.items():
            with open(f"{d}/{name}", "w") as f:
                f.write(text)
        loss = script("loss.py", "q0")
        test_loss(d, Line(AUGMENT, ENCODE + ["whole"], loss, cwd=d).wait())
        test_kills(d, loss)
        test_ends(d, loss)
        test_front(d, loss)
        test_ticket(d, loss)
        test_middle(d)
        test_killed_front(d)
        try:
            import torch
            test_examples(d, torch)
        except ImportError:
            skip("the examples in PyTorch", "there is no PyTorch here")
    lines.done()


if __name__ == "__main__":
    main()
