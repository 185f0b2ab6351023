"""The progress line: what fits a terminal of 40, 80 and 200 columns, the time left, a window that changes its size, and none at
all."""
import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios

sys.path.insert(0, "tests/pipe")
import lines

B = os.environ.get("B", "build/release")
# Fifteen steps of a training's line, drawn by the library; the window shrinks after the eighth where a second width is given.
CHILD = """
import ctypes, fcntl, struct, sys, termios, time
lib = ctypes.CDLL(sys.argv[1])
for step in range(1, 16):
    if step == 9 and len(sys.argv) > 2:
        fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", 24, int(sys.argv[2]), 0, 0))
    form = b"step %d/15  epoch 1  loss %d.123 (untrained 7.625)  std 0.123  %d images/s"
    lib.progress_show(ctypes.c_int64(step), ctypes.c_int64(15), form, step, 3, 1000)
    time.sleep(0.21)
lib.progress_close()
"""


def on_terminal(command, columns, **more):
    """All that a command writes to a terminal of so many columns as its stderr."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(command, stderr=theirs, stdout=subprocess.DEVNULL, env=dict(os.environ, TERM="xterm"), **more)
    os.close(theirs)
    text = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while chunk := os.read(ours, 4096):
            text += chunk
    os.close(ours)
    return process.wait(), text.decode()


def drawn(text):
    """Lines as they were drawn, one over the other."""
    return [x.split("\x1b[K")[0] for x in text.replace("\r\n", "\n").split("\r")[1:]]


def check_widths():
    library = os.path.abspath(f"{B}/libparity.so")
    whole = re.compile(r"^step \d+/15  \d+ s left  epoch 1  loss 3\.123 \(untrained 7\.625\)  std 0\.123  1000 images/s$")
    part = {40: r"^step \d+/15  \d+ s left  epoch 1$",
            80: r"^step \d+/15  \d+ s left  epoch 1  loss 3\.123 \(untrained 7\.625\)  std 0\.123$", 200: whole}
    for columns, form in part.items():
        code, text = on_terminal([sys.executable, "-c", CHILD, library], columns)
        rows = drawn(text)
        lines.check(f"{columns} columns hold the line's first parts", code == 0 and len(rows) > 3
                    and any(re.match(form, r) for r in rows)
                    and all(len(r) < columns for r in rows), repr(rows[:3]))
        lines.check(f"{columns} columns: the last line is drawn, and left standing", rows[-1].startswith("step 15/15  epoch 1")
                    and text.endswith("\n"), repr(text[-90:]))
    _, text = on_terminal([sys.executable, "-c", CHILD, library, "30"], 200)
    rows = drawn(text)
    lines.check("a window that shrinks gets shorter lines", any(whole.match(r) for r in rows) and len(rows[-1]) < 30
                and rows[-1].startswith("step 15/15"), repr(rows))
    quiet = subprocess.run([sys.executable, "-c", CHILD, library], stderr=subprocess.PIPE, text=True)
    lines.check("elsewhere there are whole lines, now and then", 2 <= quiet.stderr.count("\n") < 15 and "\r" not in quiet.stderr
                and "images/s" in quiet.stderr,
                repr(quiet.stderr))


def check_program(folder):
    lines.images(f"{folder}/data/train", 12)
    lines.images(f"{folder}/data/test", 6)
    line = f"{lines.BIN}/augment -q --eval --size 16 -b 3 {folder}/data | {lines.BIN}/probe --on view knn:k=3"
    code, text = on_terminal(["sh", "-c", line], 40)
    rows = drawn(text)
    lines.check("a program's own line fits", code == 0 and any(r.startswith("18 of 18 samples") for r in rows)
                and all(len(r) < 40 for r in rows), repr(text))


if __name__ == "__main__":
    check_widths()
    with tempfile.TemporaryDirectory() as tmp:
        check_program(tmp)
    sys.exit(lines.done())
