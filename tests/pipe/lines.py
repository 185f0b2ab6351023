"""lines.py - shell lines of sprat under a test's control, small data sets, and the test's own lines of output

    with folder() as d:
        images(f"{d}/data", 48)
        line = Line(["augment", "data"], ["encode", "-a", "resnet18", "-o", "run"], ["loss", "moco:k=64"], cwd=d)
        line.wait()            line.codes, line.code, line.stdout, line.stderr

Every stage is a child with its own pid (line.procs), all in one process group of their own as a shell would have it.
"""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("BIN", f"{ROOT}/bin")
BUILD = os.environ.get("B", f"{ROOT}/build/release")
POINTS = os.path.join(os.path.dirname(BUILD), os.path.basename(BUILD).replace("release", "points"), "bin")   # of the same variant
DATA = os.environ.get("DATA", "")
TOOLS = ("augment", "encode", "loss", "probe")

sys.path.insert(0, os.path.join(ROOT, "tests"))
from check import check, done, skip  # noqa: E402,F401


@contextlib.contextmanager
def folder():
    path = tempfile.mkdtemp(prefix="sprat-test-")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def environment(**more):
    env = {k: v for k, v in os.environ.items() if k not in ("SSH_CONNECTION", "SPRAT_STOP_AT")}
    env.update(more)
    return env


class Line:
    """Starts the commands of a line, each stdout into the next one's stdin. A list of commands in place of a command is a pool:
    all of them write their tickets into the same pipe, as { a & b & wait; } does."""

    def __init__(self, *stages, cwd, bin=BIN, env=None, stdout=None):
        self.err, self.out = tempfile.TemporaryFile(), None if stdout else tempfile.TemporaryFile()
        self.procs, self.started = [], time.monotonic()
        self.bin, self.cwd, self.env = bin, cwd, env or environment()
        source = subprocess.DEVNULL
        for stage in stages[:-1]:
            reader, writer = os.pipe()
            for command in stage if isinstance(stage[0], list) else [stage]:
                self.spawn(command, source, writer)
            os.close(writer)
            if source != subprocess.DEVNULL:
                os.close(source)
            source = reader
        self.spawn(stages[-1], source, stdout or self.out)
        if source != subprocess.DEVNULL:
            os.close(source)

    def spawn(self, command, source, sink):
        path = os.path.join(self.bin, command[0]) if command[0] in TOOLS else command[0]
        group = self.procs[0].pid if self.procs else 0
        self.procs.append(subprocess.Popen([path] + list(command[1:]), cwd=self.cwd, stdin=source, stdout=sink, stderr=self.err,
                                           env=self.env, process_group=group))

    def __getitem__(self, i):
        return self.procs[i]

    def kill(self, *which, sig=signal.SIGKILL):
        for i in which:
            self.procs[i].send_signal(sig)

    def wait(self, seconds=120):
        """Waits for every stage; kills what is left after that many seconds (then code None shows it)."""
        end, late = time.monotonic() + seconds, False
        for p in self.procs:
            try:
                p.wait(max(0.01, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                late = True
                break
        if late:
            self.abandon()
        self.seconds = time.monotonic() - self.started
        self.codes = [None if late else p.returncode for p in self.procs]
        return self

    def abandon(self):
        for p in self.procs:
            if p.poll() is None:
                p.kill()
                p.wait()

    @property
    def code(self):
        """The line's status as a shell gives it."""
        c = self.codes[-1]
        return c if c is None or c >= 0 else 128 - c

    @property
    def stderr(self):
        return whole(self.err)

    @property
    def stdout(self):
        return whole(self.out)

    @property
    def words(self):
        """Lines of stderr that begin with a program's name."""
        return [x for x in self.stderr.split("\n") if x.split(":")[0] in TOOLS and ":" in x]

    def steps(self):
        """Number of the last step that the loss has printed."""
        return max([0] + [row["step"] for row in json_lines(self.stdout) if "step" in row])


def whole(file):
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")


def json_lines(text):
    rows = []
    for line in text.split("\n")[:-1]:
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows


def alive(pid):
    """Whether a child runs (a zombie does not)."""
    with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/stat") as f:
        return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def until(condition, seconds=60):
    """Waits for a condition in steps of a few milliseconds; whether it came true."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.004)
    return True


def handles(pid, sig):
    """Whether a process has got as far as to catch a signal, or is gone: sent before, the signal itself ends it."""
    try:
        with open(f"/proc/{pid}/status") as f:
            caught = next(line.split()[1] for line in f if line.startswith("SigCgt:"))
    except (FileNotFoundError, ProcessLookupError, StopIteration):
        return True
    return bool(int(caught, 16) >> (sig - 1) & 1)


# --- data ---


def images(path, count, classes=3, size=40, seed=1):
    """A tree of class folders with PNG pictures: a coloured wave each, by class, with noise."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    for i in range(count):
        c = i % classes
        wave = np.sin(2 * np.pi * ((1 + c) * x + (3 - c) * y) + rng.uniform(0, 6))
        colour = rng.uniform(40, 100, 3)
        picture = 128 + wave[..., None] * colour + rng.normal(0, 10, (size, size, 3))
        os.makedirs(f"{path}/class{c}", exist_ok=True)
        Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(f"{path}/class{c}/{i:04d}.png")


# --- safetensors, read without sprat ---


def safetensors(path):
    """{name: array} and metadata of a file."""
    kinds = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "I32": "<i4", "U8": "u1", "F16": "<f2"}
    with open(path, "rb") as f:
        raw = f.read()
    n = int.from_bytes(raw[:8], "little")
    header, data = json.loads(raw[8:8 + n]), raw[8 + n:]
    meta = header.pop("__metadata__", {})
    return {name: np.frombuffer(data[t["data_offsets"][0]:t["data_offsets"][1]], kinds[t["dtype"]]).reshape(t["shape"])
            for name, t in header.items()}, meta


def content(path):
    with open(path, "rb") as f:
        return f.read()
