"""Several trained encodes in one line: a teacher that trains along moves as it would alone, three encoders get what is theirs;
kill -9 one or two stages at any moment, or stop an encoder inside a save, and the same line again ends in the bytes of the run
that nobody disturbed, for all of them; signals; what is refused."""
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "pipe"))
import lines
import numpy as np
from byol import follow, play
from lines import POINTS, Line, check, content, environment, folder, images, json_lines, safetensors, until

STEPS, EVERY = 8, 3
AUGMENT = ["augment", "-q", "-j1", "--size", "32", "--recipe", "moco-cifar", "--batch", "8", "--epochs", "1", "-s", "9", "data"]
NET = ["encode", "-q", "-j1", "-a", "mobilenet_v3_small", "--small", "--ema", ".9..1"]
TEACHER = NET + ["--head", "32,bn,relu,16", "--predictor", "24,bn,relu,16", "-o", "teacher"]
STUDENT = NET + ["--head", "16", "--predictor", "semadv=24,bn,relu,16", "--predictor", "temadv=24,bn,relu,16", "--save-every",
                 str(EVERY), "-o", "student"]
LOSS = ["loss", "-q", "-j1", "simdis:online=1"]
NAMES = ("augment", "the teacher", "the student", "loss")
FILES = [f"{run}/{f}.safetensors" for run in ("teacher", "student") for f in ("checkpoint", "checkpoint.previous", "model")]
TRIES = 4


def along(*options):
    return TEACHER + ["--as", "t", *options]


class Run:
    """One folder in which the same line is given again and again."""

    def __init__(self, d, name):
        self.path, self.rows = f"{d}/{name}", []
        os.mkdir(self.path)
        os.symlink("../data", f"{self.path}/data")

    def start(self, teacher=(), student=()):
        """teacher, student: what stands in front of their command, as env VAR=VALUE."""
        def at(words, command):
            return ["env", *words, f"{POINTS}/{command[0]}", *command[1:]] if words else command
        return Line(AUGMENT, at(teacher, along()), at(student, STUDENT), LOSS, cwd=self.path, bin=POINTS, env=environment())

    def finish(self, line):
        line.wait(90)
        self.rows += [r for r in json_lines(line.stdout) if "step" in r]
        return line

    def files(self):
        return {f: content(f"{self.path}/{f}") if os.path.exists(f"{self.path}/{f}") else None for f in FILES}

    def steps(self):
        return {r["step"]: {k: v for k, v in r.items() if k != "images_s"} for r in self.rows}


def judge(name, whole, run, first, sig=signal.SIGKILL):
    trouble = []
    if first.code == 0 and run.files() != whole.files():
        trouble.append("the interrupted line ended with 0 before the run did")
    for n in range(2):
        line = run.finish(run.start())
        if line.code == 0:
            break
    if n or line.codes != [0] * 4:
        trouble.append(f"{n + 1} more lines, the last one ended with {line.codes}: {line.stderr}")
    trouble += [f"{f} differs" for f, bytes in whole.files().items() if run.files()[f] != bytes and
                (sig == signal.SIGKILL or "previous" not in f)]   # after a signal, which saves, it may be that step's
    if run.steps() != whole.steps():
        trouble.append(f"step lines differ: {[s for s in whole.steps() if run.steps().get(s) != whole.steps()[s]]}")
    check(name, not trouble, "; ".join(trouble))


def kill_case(d, whole, which, moment, wait, sig=signal.SIGKILL):
    name = f"{' and '.join(NAMES[i] for i in which)}: {sig.name} {1000 * wait:.0f} ms after step {moment}"
    for n in range(TRIES):   # where the run is over before the kill, sooner
        run = Run(d, f"{'-'.join(map(str, which))}-{moment}-{sig.name}-{n}")
        line = run.start()
        until(lambda: line.steps() >= moment or line[-1].poll() is not None)
        time.sleep(wait / 4**n)
        for i in which:
            if line[i].poll() is None:
                line.kill(i, sig=sig)
        run.finish(line)
        if sig != signal.SIGKILL or moment == STEPS or all(line.codes[i] == -9 for i in which):
            break
    else:
        check(name, False, "it ended before the kill every time")
        return
    if sig != signal.SIGKILL and run.files() != whole.files():
        steps = [safetensors(f"{run.path}/{r}/checkpoint.safetensors")[1]["step"] for r in ("teacher", "student")]
        check(f"{name}: both are saved at one step, and the line ends with 128 + the signal", steps[0] == steps[1] and
              line.codes[1:3] == [128 + sig] * 2, f"{steps} {line.codes} {line.stderr}")
    judge(name, whole, run, line, sig)


def point_case(d, whole, who, point):
    run = Run(d, f"{who}-{point.replace(':', '-')}")
    line = run.finish(run.start(**{who: [f"SPRAT_STOP_AT={point}"]}))
    if -9 not in line.codes:
        check(f"the {who} stopped at {point}", False, f"no such point was passed: {line.codes} {line.stderr}")
        return
    judge(f"the {who} stopped at {point}", whole, run, line)


def cases(step):
    draw = random.Random(2)
    yield from ((kill_case, which, moment, draw.uniform(0, step)) for which, moment in
                (((1,), 2), ((2,), EVERY), ((1,), STEPS - 1), ((2,), 5), ((3,), 4), ((1, 2), EVERY)))
    yield from ((kill_case, (i,), moment, draw.uniform(0, step), signal.SIGTERM) for i, moment in ((1, 4), (2, 1)))
    yield from ((point_case, "teacher", point) for point in ("before-write:1", "before-rename:3", "before-rename:5"))
    yield from ((point_case, "student", point) for point in ("before-write:1", "between-files:1", "before-rename:3"))


# --- who gets what ---


def test_alone(d):
    """The teacher's gradient of simdis online is BYOL's: it ends in the weights of a run of its own."""
    run = Run(d, "alone")
    Line(AUGMENT, TEACHER + ["--save-every", str(EVERY)], ["loss", "-q", "-j1", "byol"], cwd=run.path).wait()
    a, b = (safetensors(f"{d}/{r}/teacher/checkpoint.safetensors")[0] for r in ("alone", "whole"))
    check("a teacher that trains along moves as it does alone", len(a) > 400 and a.keys() == b.keys() and
          all(a[n].tobytes() == b[n].tobytes() for n in a))
    check("the student is another", any(a[n].tobytes() != v.tobytes() for n, v in
                                        safetensors(f"{d}/whole/student/checkpoint.safetensors")[0].items() if n in a))


def test_three(d):
    """Encoders a, b and one without a name: each gets the gradient of its own names, and alone moves as it does among three."""
    wants = {"a": ["a0", "a1"], "b": ["bfeature0"], "": ["q0", "q1"]}

    def loss(batch):
        made = {n: follow(batch[n], np.ones_like(batch[n])) for n in batch}
        return sum(v for v, _ in made.values()), {n: g.astype(np.float32) for n, (_, g) in made.items()}

    def line(*names):
        stages = [NET + ["--dim", "12", "-o", f"three-{len(names)}-{n}", *(["--as", n] if n else [])] for n in names]
        line = Line(AUGMENT, *stages, cwd=d, stdout=subprocess.PIPE)
        play(line, [w for n in names for w in wants[n]], loss)
        return line

    whole = line("a", "b", "")
    if not check("three trained encoders in one line", whole.codes == [0] * 4 and not whole.words,
                 f"{whole.codes} {whole.stderr}"):
        return
    for n in wants:
        line(n)
        a, b = (safetensors(f"{d}/three-{k}-{n}/model.safetensors")[0] for k in (1, 3))
        check(f"'{n}' alone moves as among three", all(a[k].tobytes() == b[k].tobytes() for k in a))


def test_refusals(d):
    pairs = {
        "two of the same names": ([TEACHER, STUDENT], "--as"),
        "parts of a trained stage's step": ([along(), STUDENT + ["--microbatch", "4"]], "--microbatch"),
        "a save that is not the last stage's to order": ([along("--save-every", "2"), STUDENT], "--save-every"),
        "a frozen stage behind a trained one": ([along(), ["encode", "-q", "-j1", "-a", "resnet18", "--small", "--frozen",
                                                           "--as", "u"], STUDENT], "trained"),
    }
    for i, (name, (stages, word)) in enumerate(pairs.items()):
        run = Run(d, f"refused-{i}")
        line = Line(AUGMENT, *stages, LOSS, cwd=run.path).wait(30)
        check(f"{name}: refused in one sentence", line.code == 2 and len(line.words) == 1 and word in line.words[0],
              f"{line.codes} {line.stderr}")


def test_other_folders(d):
    """A run beside another one's folder says so, and loses nothing."""
    shutil.copytree(f"{d}/whole", f"{d}/other", symlinks=True)
    shutil.rmtree(f"{d}/other/student")
    before = content(f"{d}/other/teacher/checkpoint.safetensors")
    line = Line(AUGMENT, along(), STUDENT, LOSS, cwd=f"{d}/other").wait(30)
    check("a new student behind a teacher that is finished: refused", line.code == 2 and len(line.words) == 1 and
          "--fresh to all" in line.words[0], f"{line.codes} {line.stderr}")
    check("whose run stays", content(f"{d}/other/teacher/checkpoint.safetensors") == before)


def main():
    with folder() as d:
        images(f"{d}/data", 64)
        whole = Run(d, "whole")
        began = time.monotonic()
        line = whole.finish(whole.start())
        good = line.codes == [0] * 4 and list(whole.steps()) == list(range(1, STEPS + 1)) and None not in whole.files().values()
        if check("the undisturbed run", good, f"{line.codes} {line.stderr}"):
            again = whole.finish(whole.start())
            check("is finished, says so and writes nothing", again.codes == [0] * 4, f"{again.codes} {again.stderr}")
            test_alone(d)
            with ThreadPoolExecutor(2) as pool:
                step = (time.monotonic() - began) / STEPS / 2
                for done in [pool.submit(case, d, whole, *args) for case, *args in cases(step)]:
                    done.result()
            test_other_folders(d)
        test_three(d)
        test_refusals(d)
    lines.done()


if __name__ == "__main__":
    main()
