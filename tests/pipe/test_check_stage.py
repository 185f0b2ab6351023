"""python/check-stage: sprat's own stages and those of sprat.py pass, and stages with one fault each are found, by the right
rule"""
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import lines
from lines import ROOT, Line, check, folder, images

CHECK = [sys.executable, f"{ROOT}/python/check-stage", "--patience", "4"]
# In front: draws of a step; %s: what is spoilt. The right ones spoil nothing.
FRONT = """
import os, sys, time
import numpy as np
from sprat import Record, Stage
import sprat

FACTS = dict(views=2, batch=8, steps_per_epoch=10, epochs=2, steps=20, size=32)
OFFERS = {"view0": ("u8", 8, 32, 32, 3), "view1": ("u8", 8, 32, 32, 3)}
count = 0

def make(batch):
    draw = lambda name: np.random.default_rng((batch["step"], ord(name[-1]))).integers(0, 256, (8, 32, 32, 3), np.uint8)
    return {n: draw(n)[batch.rows.start:batch.rows.stop] for n in batch.names}
%s
with Stage("noise", serves=True, facts=FACTS) as stage:
    stage.serve(make, OFFERS)
"""
LOSS = """
import os, sys, time
import numpy as np
from sprat import Record, Stage
import sprat

sums, facts = np.zeros(16, np.float32), {"loss": "pull"}

def step(batch):
    global sums
    q, mean = batch["q0"], sums.copy()
    sums = sums + batch["q0"].mean(0)
    return {"q0": q - mean}, {"loss": float(np.square(q - mean).sum() / 2)}

def state():
    return {"sums": sums}

def restore(saved):
    global sums
    sums = saved["sums"]
%s
with Stage("pull", facts=facts) as stage:
    stage.train(["q0"], step, state, restore)
"""

MIDDLE = """
import os, sys, time
import numpy as np
from sprat import Record, Stage
import sprat

facts = {}

def make(batch):
    return {"feature0": batch["view0"].mean((1, 2)).astype("f4")}
%s
with Stage("colours", serves=True, facts=facts) as stage:
    stage.serve(make, {"feature0": ("f32", stage.connect()["fact.batch"], 3)}, needs=["view0"])
"""
# From the page alone, and without what it says of signals, of neighbours that vanish and of faults.
NAIVE = """
import sys
import msgpack, numpy as np, zmq

socket = zmq.Context().socket(zmq.DEALER)
socket.connect(sys.stdin.readline().split()[2])
send = lambda header, *frames: socket.send_multipart([msgpack.packb(header), *frames])
send({"kind": "open", "scalars": {"version": 1, "role": "naive", "command": "naive", "fact.loss": "naive"}})
schema = msgpack.unpackb(socket.recv_multipart()[0])["scalars"]
step, dtype = schema["first_step"], "f32"
%s
while True:
    send({"kind": "want", "scalars": {"step": step, "part": 0, "parts": 1}, "names": ["q0"]})
    header, *frames = socket.recv_multipart()
    header = msgpack.unpackb(header)
    if header["kind"] != "batch":
        break
    q = np.frombuffer(frames[0], "<f4").reshape(header["tensors"][0][2]).astype(dtype.replace("f32", "f4").replace("f64", "f8"))
    send({"kind": "grad", "scalars": {"step": step, "incarnation": schema["incarnation"], "loss": float((q * q).sum() / 2)},
          "tensors": [["d:q0", dtype, list(q.shape)]]}, q.tobytes())
    step += 1
"""

# (what is wrong, words of the rule that finds it, code, the scene where it is: the run)
FRONTS = (
    ("a word on standard output before the ticket", "begins with its ticket", "os.write(1, b'loading data...\\n')"),
    ("draws that do not follow from the step", "the same want again",
     "right = make\ndef make(batch):\n    global count\n    count += 1\n"
     "    return {n: a + np.uint8(count) for n, a in right(batch).items()}"),
    ("the whole step in place of a part", "halves of the rows",
     "right = make\ndef make(batch):\n    batch.rows = range(8)\n    return right(batch)"),
    ("f32 where u8 was offered", "dtypes and shapes",
     "right = make\ndef make(batch):\n    return {n: a.astype('f4') for n, a in right(batch).items()}"),
    ("no fact.batch that is a number", "views, batch, steps", "FACTS['views'] = 0"),
    ("offers of another batch", "the batch first", "OFFERS = {n: ('u8', 9, 32, 32, 3) for n in OFFERS}"),
    ("grey views", "view0 is u8", "OFFERS['view0'] = ('u8', 8, 32, 32, 1)"),
    ("epochs counted from 1", "the epoch",
     "right = make\ndef make(batch):\n    batch.scalars['epoch'] = batch['step'] // 10 + 1\n    return right(batch)"),
    ("silence", "a want is answered", "def make(batch):\n    time.sleep(100)"),
    ("an exception at the end of the run", "last step's epoch",
     "right = make\ndef make(batch):\n    assert batch['step'] < 19\n    return right(batch)"),
    ("a lineage that is not its own", "lineage", "Stage.serve.__globals__['shlex'].join = lambda words: ''"),
    ("deaf to SIGINT", "SIGINT", "Stage.on_signal = lambda self, n, frame: None", "stop"),
    ("its socket left behind", "its socket is gone", "sprat.shutil.rmtree = lambda *a, **k: None\nfrom sprat import zmq\n"
     "close = sprat.Link.close\n"
     "sprat.Link.close = lambda self: (close(self), sprat.zmq.Context.term(sprat.zmq.Context.instance()), "
     "os.path.isdir(stage.folder) and open(stage.folder + '/s', 'w').close())"),
    ("ends with 0 when its client vanishes", "its client vanishes", "import sprat\ninit = sprat.Fault.__init__\n"
     "def other(self, code, sentence, said=False):\n    init(self, code, sentence, said)\n"
     "    if 'vanished' in sentence:\n        os._exit(0)\n"
     "sprat.Fault.__init__ = other", "lost-client"),
)
LOSSES = (
    ("a gradient twice as steep", "the loss's slope",
     "right = step\ndef step(batch):\n    d, s = right(batch)\n    return {'q0': 2 * d['q0']}, s", "slope"),
    ("a gradient of zeros", "the loss's slope",
     "right = step\ndef step(batch):\n    d, s = right(batch)\n    return {'q0': 0 * d['q0']}, s", "slope"),
    ("a gradient of another shape", "of the shape of q",
     "right = step\ndef step(batch):\n    d, s = right(batch)\n    return {'q0': d['q0'].T}, s"),
    ("NaN in a gradient", "finite",
     "right = step\ndef step(batch):\n    d, s = right(batch)\n    d['q0'][3, 3] = np.nan\n    return d, s"),
    ("a loss that is not a number", "loss is a finite",
     "right = step\ndef step(batch):\n    d, s = right(batch)\n    return d, {'loss': float('nan')}"),
    ("no gradient", "d:NAME", "right = step\ndef step(batch):\n    return {}, right(batch)[1]"),
    ("a gradient of keys", "d:NAME",
     "right = step\ndef step(batch):\n    d, s = right(batch)\n    return {**d, 'k0': d['q0']}, s"),
    ("no state", "resumed from its state", "state = dict", "resume"),
    ("a state that is not taken back", "resumed from its state", "def restore(saved):\n    pass", "resume"),
    ("no name", "names fact.loss", "facts = {}"),
    ("a name that is not offered", "asks for what is offered",
     "train = Stage.train\nStage.train = lambda self, names, *rest: train(self, ['q0', 'p0'], *rest)"),
    ("deaf to SIGINT", "SIGINT", "Stage.on_signal = lambda self, n, frame: None", "stop"),
    ("hangs when encode is gone", "encode is killed", "Stage.ask_servers.__globals__['ENDS'] = 0", "lost-encode"),
    ("standard input read to its end", "its first message is open", "sys.stdin.buffer.raw.readall()"),
)
SAID = "sprat.Fault.said = property(lambda self: %s, lambda self, value: None)"
MIDDLES = (
    ("facts that it changes", "facts of the stage in front", "facts['batch'] = 4"),
    ("a stop that it keeps to itself", "a stop that comes from in front",
     "take = Stage.take\ndef quiet(self, want):\n    got = take(self, want)\n    got.scalars.pop('stop', 0)\n    return got\n"
     "Stage.take, Stage.stop = quiet, property(lambda self: {}, lambda self, value: None)", "stop-from-front"),
    ("words for what has been said", "a fault that is said is not said again", SAID % False, "fault-of-front"),
    ("silence about what was not said", "a fault that is not said is said", SAID % True, "new-fault"),
    ("codes of its own", "passed on with its code", "sprat.Fault.code = property(lambda self: 1, lambda self, value: None)",
     "fault-of-front"),
    ("hanging when the stage in front is gone", "in front is killed", "Stage.ask_servers.__globals__['ENDS'] = 0", "lost-front"),
)
NAIVES = (
    ("no thought of Ctrl-C", "SIGINT", "", "stop"),
    ("no monitor", "encode is killed: it ends, with 3: it hangs", "", "lost-encode"),
    ("a fault taken for an end", "a fault of encode ends it", "", "fault"),
    ("a fault ticket taken for a ticket", "a fault ticket", "", "fault-ticket"),
    ("numpy's own numbers", "'d:q0' came as 'f64'", "dtype = 'f64'"),
    ("steps from 1", "it wants one step after the other", "step += 1"),
    ("two wants at once", "it wants one step after the other",
     "send({'kind': 'want', 'scalars': {'step': 0, 'part': 0, 'parts': 1}, 'names': ['q0']})"),
    ("an exception", "it ended with status 1: ZeroDivisionError", "1 / 0"),
)


def judged(place, *command, scene=()):
    run = subprocess.run([*CHECK, "--as", place, *scene, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         timeout=120,
                         env=lines.environment(PYTHONPATH=f"{ROOT}/python", PATH=f"{lines.BIN}:{os.environ['PATH']}"))
    rows = run.stdout.splitlines()
    return run.returncode, [r for r in rows if not r.startswith("ok - ")], sum(r.startswith("ok - ") for r in rows)


def test_right(name, least, place, *command):
    status, bad, good = judged(place, *command)
    check(f"{name} is right", status == 0 and not bad and good >= least, f"{status} {good} {bad}")


def test_broken(kind, text, broken, place=None):
    def one(i):
        with open(f"{kind}{i}.py", "w") as f:
            f.write(text % broken[i][2])
        return judged(place or kind, sys.executable, f"{kind}{i}.py", scene=("--scene", *(broken[i][3:] or ("run",))))

    with ThreadPoolExecutor(4) as pool:      # mostly they wait
        for (name, rule, *_), (status, bad, _) in zip(broken, pool.map(one, range(len(broken)))):
            check(f"{kind} with {name}: found", status == 1 and any(rule in r for r in bad), f"{status} {bad}")


def main():
    with folder() as d:
        os.environ["TMPDIR"] = d
        os.environ.pop("XDG_RUNTIME_DIR", None)
        os.chdir(d)
        images("data", 48)
        net = ["encode", "-q", "-j1", "-a", "mobilenet_v3_small", "--small"]
        augment = ["augment", "-q", "-j1", "--size", "32", "--batch", "8", "data"]
        Line(augment, net + ["--until", "1", "-o", "run"], ["loss", "-q", "moco:k=64"], cwd=d).wait()
        test_right("augment", 20, "front", *augment)
        test_right("encode --eval", 20, "middle", "encode", "--eval", "-q", "-j1", "-w", "run/model.safetensors")
        test_right("a teacher", 20, "middle", "encode", "--frozen", "--as", "t", "-q", "-j1", "-w", "run/model.safetensors")
        test_right("loss moco", 18, "loss", "loss", "-q", "moco:t=0.2,k=64")
        for name, text, place in (("front.py", FRONT, "front"), ("loss.py", LOSS, "loss"), ("middle.py", MIDDLE, "middle")):
            with open(name, "w") as f:
                f.write(text % "")
            test_right(f"a {place} by sprat.py", 18, place, sys.executable, name)
        test_broken("front", FRONT, FRONTS)
        test_broken("loss", LOSS, LOSSES)
        test_broken("middle", MIDDLE, MIDDLES)
        test_broken("naive", NAIVE, NAIVES, "loss")
    lines.done()


if __name__ == "__main__":
    main()
