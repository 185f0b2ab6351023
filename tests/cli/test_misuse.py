"""What a new user runs into: for each, one sentence in the whole line, the status that docs/errors.md gives, and nothing lost."""
import glob
import os
import pwd
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "pipe"))
import lines
from lines import ROOT, Line, check, content, folder, images, safetensors, skip, until

AUGMENT = ["augment", "-q", "-j1", "--size", "32", "--recipe", "moco-cifar", "--batch", "8", "--epochs", "6", "-s", "9"]
ENCODE = ["encode", "-q", "-j1", "-a", "mobilenet_v3_small", "--small", "--dim", "16", "--save-every", "4", "-o", "run"]
LOSS = ["loss", "-q", "-j1", "moco:k=64"]
EVAL = ["augment", "-q", "-j1", "--eval", "--recipe", "moco-cifar", "--size", "32", "--batch", "8"]
CHECKPOINT = "run/checkpoint.safetensors"


def documented(row):
    """(who speaks, status) of a row in the table of docs/errors.md, found by how it begins."""
    with open(f"{ROOT}/docs/errors.md") as f:
        cells = [[c.strip() for c in line.strip().strip("|").split("|")] for line in f if line.startswith("|")]
    found = [c for c in cells if len(c) == 4 and c[0].startswith(row)]
    assert len(found) == 1, row
    return found[0][1].strip("`"), found[0][2]


def spoken(name, line, row, *parts, who=None, code=None):
    """One sentence by the documented program, in the line's status the documented code; parts: words that it must hold."""
    speaker, status = documented(row)
    speaker, status = who or speaker, code if code is not None else int(status)
    said = line.words
    check(name, len(said) == 1 and said[0].startswith(f"{speaker}: ") and line.code == status
          and all(p in said[0] for p in parts) and
          not said[0].endswith("."), f"status {line.code} {line.codes}, said {line.stderr!r}; documented: {speaker} {status}")


def nothing_begun(name, d):
    left = [f for _, _, files in os.walk(f"{d}/run") for f in files if f.endswith(".safetensors") or ".safetensors" in f]
    check(f"{name}: nothing was begun", not left, left)


# --- data ---


def test_data():
    with folder() as d:
        images(f"{d}/few", 5)
        os.makedirs(f"{d}/empty")
        os.makedirs(f"{d}/words/a")
        with open(f"{d}/words/a/x.txt", "w") as f:
            f.write("no image")
        for name, data, row, parts in (("a wrong folder", "nowhere", "no such file", ["nowhere"]),
                                       ("an empty folder", "empty", "no such file", ["empty"]),
                                       ("a folder without images", "words", "no such file", ["words"]),
                                       ("a file that is no data set", "words/a/x.txt", "no such file", ["x.txt"]),
                                       ("fewer images than a batch", "few", "fewer images", ["5", "8"])):
            spoken(name, Line(AUGMENT + [data], ENCODE, LOSS, cwd=d).wait(20), row, *parts)
            nothing_begun(name, d)
        line = Line(EVAL + ["nowhere"], ENCODE[:-2] + ["--eval"], ["probe", "knn"], cwd=d).wait(20)
        spoken("a wrong folder to evaluate", line, "no such file", "nowhere")


# --- command lines ---


def test_words():
    with folder() as d:
        images(f"{d}/data", 24)
        augment = AUGMENT + ["data"]
        swap = lambda command, old, new: [new if w == old else w for w in command]
        cases = [
            ("an unknown architecture", augment, swap(ENCODE, "mobilenet_v3_small", "mobilenet_v9"), LOSS, "encode",
             ["mobilenet_v9", "mobilenet_v3_small"]),
            ("an unknown recipe", swap(augment, "moco-cifar", "moko"), ENCODE, LOSS, "augment", ["moko", "moco-cifar"]),
            ("an unknown loss", augment, ENCODE, ["loss", "mico"], "loss", ["mico", "moco"]),
            ("an unknown key", augment, ENCODE, ["loss", "moco:x=1"], "loss", ["x"]),
            ("an unknown option of augment", augment + ["--nonsense"], ENCODE, LOSS, "augment", ["--nonsense"]),
            ("an unknown option of encode", augment, ENCODE + ["--nonsense"], LOSS, "encode", ["--nonsense"]),
            ("an unknown option of loss", augment, ENCODE, LOSS + ["--nonsense"], "loss", ["--nonsense"]),
            ("an option without its value", augment, ENCODE + ["--dim"], LOSS, "encode", ["--dim"]),
            ("a number that is none", augment, ENCODE + ["--dim", "wide"], LOSS, "encode", ["wide"]),
            ("a number out of range", augment, ENCODE + ["--dim", "-1"], LOSS, "encode", ["-1"]),
            ("two losses", augment, ENCODE, LOSS + ["moco"], "loss", []),
            ("a loss behind a network without a head", augment, ENCODE + ["--head", "none"], LOSS, "loss", ["q0"]),
            ("no loss", augment, ENCODE, ["loss"], "loss", ["list"]),
            ("no data", AUGMENT, ENCODE, LOSS, "augment", []),
            ("no architecture", augment, ["encode", "-o", "run"], LOSS, "encode", ["-a"]),
        ]
        for name, *commands, who, parts in cases:
            spoken(name, Line(*commands, cwd=d).wait(20), "unknown architecture", *parts, who=who)
            nothing_begun(name, d)
        spoken("a queue that is no multiple of the batch", Line(augment, ENCODE, ["loss", "moco:k=60"], cwd=d).wait(20),
               "queue no multiple", "60")
        spoken("an unknown probe", Line(EVAL + ["data"], ENCODE[:-2] + ["--eval"], ["probe", "knm"], cwd=d).wait(20),
               "unknown architecture", "knm", "knn", who="probe")
        missing = Line(EVAL + ["data"], ["encode", "-q", "--eval", "-w", "no.safetensors"], ["probe", "knn"], cwd=d).wait(20)
        check("weights that are not there", len(missing.words) == 1 and missing.words[0].startswith("encode: ") and
              "no.safetensors" in missing.words[0] and missing.code in (1, 2), f"{missing.codes} {missing.stderr}")


def test_alone():
    """Stages with nothing in front, and a run that is kept nowhere."""
    with folder() as d:
        for command in (ENCODE, LOSS, ["probe", "-q", "knn"]):
            line = Line(command, cwd=d).wait(20)
            check(f"{command[0]} with no stage in front", line.code == 3 and len(line.words) == 1
                  and "no stage is in front" in line.words[0], f"{line.codes} {line.stderr}")
        images(f"{d}/data", 24)
        kept = [w for w in ENCODE if w != "-q"]
        for words, told in ((kept, False), (kept[:-2], True)):
            line = Line(AUGMENT + ["-e1", "data"], words, LOSS, cwd=d).wait(40)
            check(f"a run with{'out' if told else ''} -o: {'its loss is' if told else 'nothing is'} told of",
                  line.code == 0 and ("nothing of this run is kept" in line.stderr) == told,
                  f"{line.codes} {line.stderr}")


# --- the folder of the run ---


class Begun:
    """A folder with data and a run of 18 steps, and what the same line gives when nothing is in its way."""

    def __init__(self, d):
        images(f"{d}/data", 24)
        self.d, self.line = d, [AUGMENT + ["data"], ENCODE, LOSS]
        self.go(cwd=d)
        self.whole = content(f"{d}/{CHECKPOINT}")
        os.rename(f"{d}/run", f"{d}/whole")

    def go(self, *more, cwd=None, seconds=60):
        return Line(AUGMENT + ["data"], ENCODE + list(more), LOSS, cwd=cwd or self.d).wait(seconds)

    def goes_on(self, name, **where):
        line = self.go(**where)
        check(f"{name}: the same line goes on to the same end", line.code == 0 and not line.words and
              content(f"{where.get('cwd', self.d)}/{CHECKPOINT}") == self.whole, f"{line.codes} {line.stderr}")

    def until_saved(self, sure=4):
        """A line in the middle of its run, with a checkpoint on disk."""
        line = Line(*self.line, cwd=self.d)
        until(lambda: line.steps() > sure or line[-1].poll() is not None)
        return line

    def forget(self):
        subprocess.run(["rm", "-rf", f"{self.d}/run"], check=True)


def test_interrupt(b):
    for number, code, row in ((signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "Ctrl-C")):
        b.forget()
        line = b.until_saved()
        os.killpg(line[0].pid, number)
        line.wait(20)
        name = number.name
        spoken(f"{name} to the line", line, row, "run", code=code)
        check(f"{name}: the step in hand is saved", os.path.exists(f"{b.d}/{CHECKPOINT}") and safetensors(f"{b.d}/{CHECKPOINT}"))
        b.goes_on(name)
    for i, stage in enumerate(("augment", "encode", "loss")):
        b.forget()
        line = b.until_saved()
        line.kill(i, sig=signal.SIGINT)
        line.wait(20)
        check(f"SIGINT to {stage} alone", line.code == 130 and len(line.words) == 1, f"{line.codes} {line.stderr}")
        b.goes_on(f"SIGINT to {stage}")
    b.forget()
    line = Line(*b.line, cwd=b.d)
    os.killpg(line[0].pid, signal.SIGINT)
    line.wait(20)
    check("SIGINT before anything has begun", line.code == 130 and len(line.words) <= 1, f"{line.codes} {line.stderr}")
    b.goes_on("SIGINT at once")


def test_killed(b):
    for i, (stage, row, code) in enumerate((("augment", "`augment` or `encode` killed", 3),
                                            ("encode", "`augment` or `encode` killed", 3),
                                            ("loss", "`loss` killed", 137))):
        b.forget()
        line = b.until_saved()
        before = content(f"{b.d}/{CHECKPOINT}")
        line.kill(i)
        line.wait(20)
        spoken(f"{stage} killed", line, row, "vanished", who=("encode", "loss", "encode")[i], code=code)
        check(f"{stage} killed: the checkpoint stays", content(f"{b.d}/{CHECKPOINT}") == before
              or len(content(f"{b.d}/{CHECKPOINT}")) == len(before))
        b.goes_on(f"{stage} killed")


def evaluation(d):
    """An evaluation whose encode serves already and is stopped, so that what happens next happens in the middle."""
    sockets = f"{d}/sockets"
    subprocess.run(["rm", "-rf", sockets], check=True)
    os.mkdir(sockets)
    line = Line(EVAL + ["many"], ["encode", "-q", "-j1", "-w", "whole/model.safetensors", "--eval"], ["probe", "-q", "metrics"],
                cwd=d,
                env=lines.environment(XDG_RUNTIME_DIR=sockets))
    until(lambda: len(glob.glob(f"{sockets}/*/s")) == 2 or line[-1].poll() is not None)
    line.kill(1, sig=signal.SIGSTOP)
    time.sleep(0.3)
    return line


def test_killed_evaluation(b):
    images(f"{b.d}/many", 300)
    for i, (stage, who) in enumerate((("augment", "encode"), ("encode", "probe"))):
        line = evaluation(b.d)
        line.kill(i)
        line.kill(1, sig=signal.SIGCONT)
        line.wait(20)
        said = [w.split(":")[0] for w in line.words]
        check(f"an evaluation's {stage} killed", line.code == 3 and said == [who], f"{line.codes} {line.stderr}")
    line = evaluation(b.d)
    os.killpg(line[0].pid, signal.SIGINT)
    line.kill(1, sig=signal.SIGCONT)
    line.wait(20)
    check("Ctrl-C to an evaluation", line.code == 130 and len(line.words) == 1, f"{line.codes} {line.stderr}")
    check("no socket is left behind", len(os.listdir(f"{b.d}/sockets")) == 0, os.listdir(f"{b.d}/sockets"))


def test_two_runs(b):
    b.forget()
    first = b.until_saved()
    first.kill(0, 1, 2, sig=signal.SIGSTOP)
    second = Line(*b.line, cwd=b.d)
    began = time.monotonic()
    second.wait(30)
    took = time.monotonic() - began
    first.kill(0, 1, 2, sig=signal.SIGCONT)
    spoken("a second run into the same folder", second, "another run holds", "run")
    check("it waits for about ten seconds first", 8 < took < 16, took)
    first.wait(60)
    check("the first one goes on", first.codes == [0, 0, 0] and content(f"{b.d}/{CHECKPOINT}") == b.whole,
          f"{first.codes} {first.stderr}")
    b.forget()
    first, second = b.until_saved(0), Line(*b.line, cwd=b.d)
    first.wait(60), second.wait(60)
    check("a second run that comes before the end of the first takes over", first.code == 0 and second.code == 0 and
          content(f"{b.d}/{CHECKPOINT}") == b.whole, f"{first.codes} {second.codes} {first.stderr} {second.stderr}")


def test_finished(b):
    b.forget()
    b.goes_on("a first time")
    before = os.stat(f"{b.d}/{CHECKPOINT}").st_mtime_ns
    line = b.go()
    check("a finished run is left alone", line.codes == [0, 0, 0] and not line.words
          and os.stat(f"{b.d}/{CHECKPOINT}").st_mtime_ns == before,
          f"{line.codes} {line.stderr}")
    spoken("another optimiser than the checkpoint's", b.go("--optim", "sgd:lr=0.5"), "other data", "optim")
    spoken("another kind of optimiser", b.go("--optim", "adamw"), "other data", "adamw")
    spoken("another dimension than the checkpoint's", b.go("--dim", "24"), "other data", "dim")
    images(f"{b.d}/more", 32)
    line = Line(AUGMENT + ["more"], ENCODE, LOSS, cwd=b.d).wait(20)
    spoken("other data than the checkpoint's", line, "other data", "data")
    with open(f"{b.d}/labels.tsv", "w") as f:
        f.writelines(f"{os.path.relpath(p, f'{b.d}/data')}\tone\n" for p in glob.glob(f"{b.d}/data/**/*.*", recursive=True))
    line = Line(AUGMENT + ["--labels", "labels.tsv", "data"], ENCODE, LOSS, cwd=b.d).wait(20)
    spoken("other labels than the checkpoint's", line, "other data", "labels")
    line = Line(AUGMENT + ["data"], ENCODE, ["loss", "-q", "moco:k=128"], cwd=b.d).wait(20)
    spoken("another loss than the checkpoint's", line, "other data", "loss",
           who=line.words[0].split(":")[0] if line.words else None)
    check("and the checkpoint is as it was", content(f"{b.d}/{CHECKPOINT}") == b.whole)


def test_damaged(b):
    for name, damage in (("cut short", lambda x: x[:len(x) // 2]), ("empty", lambda x: b""),
                         ("noise", lambda x: bytes(range(256)) * 40)):
        b.forget()
        os.mkdir(f"{b.d}/run")
        with open(f"{b.d}/{CHECKPOINT}", "wb") as f:
            f.write(damage(b.whole))
        line = b.go()
        check(f"a checkpoint that is {name}", line.code == 1 and len(line.words) == 1 and "checkpoint" in line.words[0],
              f"{line.codes} {line.stderr}")
    line = b.go("--fresh")
    check("--fresh starts over", line.code == 0 and content(f"{b.d}/{CHECKPOINT}")[:8] == b.whole[:8],
          f"{line.codes} {line.stderr}")


# --- disk and permission: need root ---


def test_full_disk(b):
    if os.geteuid() != 0:
        return skip("a full disk", "mounting a small file system needs root")
    os.makedirs(f"{b.d}/small", exist_ok=True)
    room = 4 * len(b.whole)  # two checkpoints, a third on its way, and a model
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}", "none", f"{b.d}/small"],
                      stderr=subprocess.DEVNULL).returncode != 0:
        return full_disk_by_limit(b)
    try:
        os.symlink("../data", f"{b.d}/small/data")
        line = Line(*b.line, cwd=f"{b.d}/small")
        until(lambda: os.path.exists(f"{b.d}/small/run/model.safetensors"), 20)
        with open(f"{b.d}/small/filler", "wb") as f:
            try:
                while True:
                    f.write(bytes(65536))
                    f.flush()
            except OSError:
                pass
        line.wait(30)
        spoken("a full disk", line, "disk full", "space")
        safetensors(f"{b.d}/small/{CHECKPOINT}")
        check("a full disk: the checkpoint before is whole, nothing else is left",
              {f for f in os.listdir(f"{b.d}/small/run") if "lock" not in f and "previous" not in f} ==
              {"checkpoint.safetensors", "model.safetensors"},
              os.listdir(f"{b.d}/small/run"))
        os.unlink(f"{b.d}/small/filler")
        b.goes_on("a full disk", cwd=f"{b.d}/small")
    finally:
        subprocess.run(["umount", "-l", f"{b.d}/small"], check=False)


def full_disk_by_limit(b):
    """Where nothing can be mounted a limit on the size of files stands in for the end of the disk."""
    b.forget()
    blocks = len(b.whole) // 2048
    encode = ["sh", "-c", f'ulimit -f {blocks}; exec "$0" "$@"', f"{lines.BIN}/encode"] + ENCODE[1:]
    line = Line(AUGMENT + ["data"], ["env", "--ignore-signal=XFSZ"] + encode, LOSS, cwd=b.d).wait(30)
    spoken("a file that may not grow", line, "disk full", "checkpoint")
    nothing_begun("a file that may not grow", b.d)
    b.goes_on("a file that may not grow")


def test_permission(b):
    if os.geteuid() != 0:
        return skip("no permission", "running as another user needs root")
    b.forget()
    os.mkdir(f"{b.d}/run", 0o555)
    for path, mode in ((b.d, 0o755), (f"{b.d}/data", 0o755)):
        os.chmod(path, mode)
    nobody = pwd.getpwnam("nobody").pw_uid
    as_nobody = lambda command: ["setpriv", f"--reuid={nobody}", "--clear-groups", f"{lines.BIN}/{command[0]}"] + command[1:]
    line = Line(*(as_nobody(c) for c in b.line), cwd=b.d).wait(30)
    spoken("no permission to write", line, "no permission", "run")
    nothing_begun("no permission to write", b.d)
    os.chmod(f"{b.d}/data", 0)
    os.chmod(f"{b.d}/run", 0o777)
    line = Line(*(as_nobody(c) for c in b.line), cwd=b.d).wait(30)
    os.chmod(f"{b.d}/data", 0o755)
    check("no permission to read", line.code == 1 and len(line.words) == 1 and line.words[0].startswith("augment: "),
          f"{line.codes} {line.stderr}")


def test_loss_cannot_write(b):
    b.forget()
    with open("/dev/full", "w") as full:
        line = Line(*b.line, cwd=b.d, stdout=full).wait(30)
    check("loss cannot write its lines", line.code == 1 and len(line.words) == 1 and line.words[0].startswith("loss: "),
          f"{line.codes} {line.stderr}")


if __name__ == "__main__":
    test_data()
    test_words()
    test_alone()
    with folder() as d:
        b = Begun(d)
        for test in (test_interrupt, test_killed, test_killed_evaluation, test_finished, test_damaged, test_full_disk,
                     test_permission, test_loss_cannot_write, test_two_runs):
            test(b)
    lines.done()
