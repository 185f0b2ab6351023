"""One augment, one frozen teacher, several students by tee: each answer is made once, every student ends in the bytes of a line
of its own, and one that dies or hangs ends nobody else.

    test_tee.py loss WEIGHT     a loss that needs the teacher: WEIGHT/2 |q0 - t0|^2
"""
import os
import re
import signal
import subprocess
import sys

import lines
from lines import BIN, check, content, environment, folder, images, until
from peer import Client

STEPS = 36      # 48 images, batches of 8
AUGMENT = "augment -v -j1 --size 32 --recipe moco-cifar --batch 8 --epochs 6 -s 2 data"
TEACHER = "encode -v -j1 -a resnet18 --small --dim 16 --frozen --as t"
STUDENT = "encode -j1 -a mobilenet_v3_small --small --dim 16 --save-every 5"
PATIENCE = 4


def distil(weight):
    client = Client(sys.stdin.readline(), "loss")
    schema = client.open(loss=f"distil:w={weight}")
    for step in range(schema.scalars["first_step"], schema.scalars["fact.steps"]):
        client.want(step, ["q0", "t0"])
        batch = client.take()
        d = batch.tensors["q0"] - batch.tensors["t0"]
        client.grad(step, {"q0": weight / len(d) * d}, {"loss": weight / 2 * float((d * d).sum(1).mean())})
        print(step + 1, flush=True)
    client.close()


def student(i):
    """Even ones learn by MoCo, odd ones from the teacher."""
    loss = f"loss -q -j1 moco:k=64,t=0.{i + 1}" if i % 2 == 0 else f"{sys.executable} {__file__} loss {i}"
    return f"{STUDENT} -o s{i} | {loss} >s{i}.log"


def fan(front, students):
    """front | tee >(student) ... | student"""
    *others, last = students
    return f"{front} | tee {' '.join(f'>({x})' for x in others)} | {last}"


class Shell:
    """A line of bash in a folder. wait() waits for every process of it, not only for those that the shell waits for."""

    def __init__(self, line, cwd):
        self.err = open(f"{cwd}/stderr", "w+")
        self.proc = subprocess.Popen(["bash", "-c", line], cwd=cwd, env=environment(PATH=BIN + os.pathsep + os.environ["PATH"]),
                                     text=True,
                                     stdin=subprocess.DEVNULL, stdout=self.err, stderr=self.err, process_group=0)

    def pids(self, words=""):
        """Processes of this line whose command holds these words; not shells."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat") as f:
                    state, _, group = f.read().rsplit(")", 1)[1].split()[:3]
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    command = f.read().decode(errors="replace").replace("\0", " ").strip()
            except OSError:
                continue
            if int(group) == self.proc.pid and state != "Z" and words in command and command and not command.startswith("bash"):
                found.append(int(pid))
        return found

    def signal(self, words, number):
        for pid in self.pids(words):
            os.kill(pid, number)

    def wait(self, seconds=120):
        self.late = not until(lambda: self.proc.poll() is not None and not self.pids(), seconds)
        if self.late:
            os.killpg(self.proc.pid, signal.SIGKILL)
        self.proc.wait()
        self.err.seek(0)
        self.text = self.err.read()
        self.err.close()
        self.words = [x for x in self.text.split("\n") if x.split(":")[0] in lines.TOOLS]
        return self

    def made(self, stage):
        """How many tensors that stage made or took from upstream, as it said at its end."""
        found = re.search(rf"# {stage}: sent (\d+) tensors; (\d+) of them", self.text)
        return int(found.group(1)) - int(found.group(2)) if found else -1


def step_of(d, i):
    text = content(f"{d}/s{i}.log") if os.path.exists(f"{d}/s{i}.log") else b""
    return text.count(b"\n")


def ended(d, truth, *which):
    """Whether these students ended in the bytes that their own lines had."""
    files = [f"s{i}/{f}.safetensors" for i in which for f in ("checkpoint", "model")]
    return all(os.path.exists(f"{d}/{f}") and content(f"{d}/{f}") == content(f"{truth}/{f}") for f in files)


def test_sweep(d, truth):
    line = Shell(fan(f"{AUGMENT} | {TEACHER}", [student(i) for i in range(4)]), d).wait()
    check("four students of one augment and one teacher end well", line.proc.returncode == 0 and not line.words
          and not line.late, line.text)
    check("each in the bytes of a line of its own", ended(d, truth, 0, 1, 2, 3), line.text)
    for stage, names in (("augment", 2), ("encode", 3)):     # view0, view1 and t0; until all have connected, some are made again
        check(f"{stage} made each tensor once", STEPS <= line.made(stage) / names <= 1.1 * STEPS + 8, line.text)


def test_death(d, truth):
    line = Shell(fan(f"{AUGMENT} --patience {PATIENCE} | {TEACHER} --patience {PATIENCE}", [student(i) for i in range(4)]), d)
    until(lambda: min(step_of(d, i) for i in range(4)) > 4)
    line.signal("-o s1", signal.SIGKILL)
    line.signal("-o s2", signal.SIGSTOP)
    until(lambda: min(step_of(d, i) for i in (0, 3)) == STEPS, 60)
    check("one killed and one that hangs do not stop the others", until(lambda: ended(d, truth, 0, 3), 20),
          content(f"{d}/stderr"))
    line.signal("-o s2", signal.SIGCONT)
    line.wait(60)
    check("the one that hung goes on", ended(d, truth, 2) and not line.late, line.text)
    check("the lines of the others said nothing", len(line.words) == 0, line.text)
    line = Shell(fan(f"{AUGMENT} | {TEACHER}", [student(i) for i in range(4)]), d).wait()
    check("the same line resumes the one that died", ended(d, truth, 0, 1, 2, 3) and not line.late, line.text)


if __name__ == "__main__":
    if sys.argv[1:2] == ["loss"]:
        distil(float(sys.argv[2]))
        sys.exit()
    with folder() as root:
        images(f"{root}/data", 48)
        for case in ("truth", "sweep", "death"):
            os.makedirs(f"{root}/{case}")
            os.symlink("../data", f"{root}/{case}/data")
        for i in range(4):
            Shell(f"{AUGMENT} | {TEACHER} | {student(i)}", f"{root}/truth").wait()
        test_sweep(f"{root}/sweep", f"{root}/truth")
        test_death(f"{root}/death", f"{root}/truth")
    lines.done()
