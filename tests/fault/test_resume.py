"""kill -9 anything at any moment, give the same line again until it ends well: the same bytes as without the kill.

A run of 24 steps with a checkpoint every 5. Each stage is killed at 8 moments over the run, two stages at once, and encode at
each named point of the save (programs of `make points`: SPRAT_STOP_AT, lib/base/base.h). Every case starts in a folder of its
own and is compared with the run that nobody disturbed: both files, and the step lines of the loss. The run has the optimiser
that keeps least; one that keeps most, and counts its steps, is killed once, and so are a network without batch norm and one in
bf16.
"""
import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "pipe"))
import lines
from lines import POINTS, Line, check, content, environment, folder, images, json_lines, until

STEPS, EVERY = 24, 5
AUGMENT = ["augment", "-q", "-j1", "--size", "32", "--recipe", "moco-cifar", "--batch", "8", "--epochs", "3", "-s", "9", "data"]
ENCODE = ["encode", "-q", "-j1", "-a", "mobilenet_v3_small", "--small", "--dim", "16", "--save-every", str(EVERY), "-o", "run"]
BF16 = ["--precision", "bf16"]
DEIT = ["-a", "deit_tiny", "--drop-path", "0.2"]
ADAMW = ["--dropout", "0.2", "--optim", "adamw:lr=1e-3,nodecay=1", "--clip", "0.5", "--schedule", "cosine:warmup=1,by=step"]
LOSS = ["loss", "-q", "-j1", "moco:k=64"]
STAGES = ("augment", "encode", "loss")
FILES = ("checkpoint.safetensors", "checkpoint.previous.safetensors", "model.safetensors")
TRIES = 4


class Run:
    """One folder in which the same line is given again and again."""

    def __init__(self, d, name, options=()):
        self.path, self.rows, self.encode = f"{d}/{name}", [], ENCODE + list(options)
        os.mkdir(self.path)
        os.symlink("../data", f"{self.path}/data")

    def start(self, **env):
        return Line(AUGMENT, self.encode, LOSS, cwd=self.path, bin=POINTS, env=environment(**env))

    def finish(self, line):
        line.wait(60)
        self.rows += [r for r in json_lines(line.stdout) if "step" in r]
        return line

    def files(self):
        return [content(f"{self.path}/run/{f}") if os.path.exists(f"{self.path}/run/{f}") else None for f in FILES]

    def steps(self):
        """A step's last line, without its rate."""
        return {r["step"]: {k: v for k, v in r.items() if k != "images_s"} for r in self.rows}

    def left(self):
        """What lies in the folder of the run beside what belongs there."""
        return [f for f in os.listdir(f"{self.path}/run") if f not in FILES and "lock" not in f]


class Whole:
    """The run that nobody disturbed, and how long its parts took."""

    def __init__(self, d, name="whole", options=()):
        run, self.options = Run(d, name, options), options
        began, line = time.monotonic(), run.start()
        until(lambda: line.steps() >= 1 or line[-1].poll() is not None)
        self.start = time.monotonic() - began
        run.finish(line)
        self.step = (line.seconds - self.start) / STEPS
        self.files, self.rows, self.codes, self.stderr = run.files(), run.steps(), line.codes, line.stderr


def resume(run):
    """The same line until it ends well: how many times, and the last one."""
    for n in range(1, TRIES + 1):
        line = run.finish(run.start())
        if line.code == 0:
            break
    return n, line


def judge(name, whole, run, first):
    """Everything a case has to show. first: the interrupted line."""
    finished = run.files() == whole.files
    trouble = []
    if first.code == 0 and not finished:
        trouble.append("the interrupted line ended with 0 before the run did")
    if len(first.words) > 1:
        trouble.append(f"it said {first.words}")
    n, line = resume(run)
    if line.code != 0 or n > 1 or line.words:
        trouble.append(f"{n} more lines, the last one ended with {line.codes}: {line.stderr}")
    trouble += [f"{f} differs" for f, a, b in zip(FILES, run.files(), whole.files) if a != b]
    if run.steps() != whole.rows:
        trouble.append(f"step lines differ: {[s for s in whole.rows if run.steps().get(s) != whole.rows[s]]}")
    if run.left():
        trouble.append(f"left behind: {run.left()}")
    check(name, not trouble, "; ".join(trouble))


def kill_case(d, whole, which, moment, wait):
    """moment: steps the loss has printed, or None: some time after the start; wait: seconds after it."""
    names = " and ".join(STAGES[i] for i in which)
    when = f"{wait:.2f} s after the start" if moment is None else f"{1000 * wait:.0f} ms after step {moment}"
    for n in range(TRIES):  # on a machine that was busier before a run may be over before we strike: sooner the next time
        run = Run(d, f"{'-'.join(map(str, which))}-{moment}-{wait:.3f}-{n}", whole.options)
        line = run.start()
        if moment is not None:
            until(lambda: line.steps() >= moment or line[-1].poll() is not None)
        time.sleep(wait / 4**n)
        line.kill(*which)
        run.finish(line)
        if moment == STEPS or all(line.codes[i] == -9 for i in which):
            break
    else:
        check(f"{names} killed {when}", False, "it ended before the kill every time")
        return
    judge(f"{names} killed {when}", whole, run, line)


def point_case(d, whole, point, kind=""):
    run = Run(d, kind + point.replace(":", "-"), whole.options)
    name = f"encode{' with ' + kind if kind else ''} stopped at {point}"
    line = run.finish(run.start(SPRAT_STOP_AT=point))
    if line.codes[1] != -9:
        check(name, False, f"no such point was passed: {line.codes} {line.stderr}")
        return
    judge(name, whole, run, line)


def cases(whole):
    """Eight moments a stage: two in the start-up, then after steps over the whole run, the last save among them; drawn but
    fixed waits."""
    draw = random.Random(1)
    moments = [(None, 0.02), (None, 0.6 * whole.start)]
    moments += [(s, draw.uniform(0, whole.step)) for s in (1, EVERY, 11, 17, STEPS - 1)] + [(STEPS, 0)]
    yield from ((kill_case, (i,), moment, wait) for i in range(3) for moment, wait in moments)
    yield from ((kill_case, pair, moment, draw.uniform(0, whole.step)) for pair in ((0, 1), (1, 2), (0, 2))
                for moment in (EVERY, 14))
    saves = 2 * -(-STEPS // EVERY)  # a checkpoint and a model each
    for name in ("before-write", "before-fsync", "before-rename"):
        yield from ((point_case, f"{name}:{k}") for k in (1, 2, saves - 1, saves))
    yield from ((point_case, f"between-renames:{k}") for k in (1, 3, saves - 1))
    yield from ((point_case, f"between-files:{k}") for k in (1, saves // 2))


def main():
    with folder() as d:
        images(f"{d}/data", 64)
        whole = Whole(d)
        good = whole.codes == [0, 0, 0] and list(whole.rows) == list(range(1, STEPS + 1)) and None not in whole.files
        if check("the undisturbed run", good, f"{whole.codes} {whole.stderr}"):
            again = Run(d, "again")
            again.finish(again.start())
            check("gives the same bytes twice", again.files() == whole.files and again.steps() == whole.rows)
            with ThreadPoolExecutor(2) as pool:
                for done in [pool.submit(case, d, whole, *args) for case, *args in cases(whole)]:
                    done.result()
        for name, options in (("adamw", ADAMW), ("deit_tiny", DEIT), ("bf16", BF16)):
            other = Whole(d, name, options)
            if check(f"the undisturbed run with {name}", other.codes == [0, 0, 0] and None not in other.files,
                     f"{other.codes} {other.stderr}"):
                point_case(d, other, "before-rename:5", name)
    lines.done()


if __name__ == "__main__":
    if not os.path.exists(f"{POINTS}/encode"):
        check("programs with stopping points", False, "build them with 'make points'")
        lines.done()
    main()
