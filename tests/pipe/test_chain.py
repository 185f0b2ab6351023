"""Longer lines: a frozen teacher between augment and the trained network passes on what it does not make, works only for what is
asked, and dies like any other stage."""
import os
import signal
import subprocess

import lines
import numpy as np
from lines import Line, check, content, folder, images, safetensors, until
from peer import Client, Fault

AUGMENT = ["augment", "-q", "-j1", "--size", "32", "--recipe", "moco-cifar", "--batch", "8", "--epochs", "4", "-s", "2", "data"]
NET = ["-q", "-j1", "-a", "mobilenet_v3_small", "--small"]
TEACHER = ["encode", "-q", "-j1", "-w", "teacher.safetensors", "--frozen", "--as", "t"]
STUDENT = ["encode"] + NET + ["--dim", "16", "--save-every", "4", "-o"]
LOSS = ["loss", "-q", "-j1", "moco:k=64"]


def make_teacher(d):
    # an f32 file all the same
    teacher = ["encode"] + NET + ["--dim", "24", "--precision", "bf16", "--until", "1", "-o", "first"]
    Line(AUGMENT[:-1] + ["-s", "7", "data"], teacher, LOSS, cwd=d).wait()
    subprocess.run(["cp", f"{d}/first/model.safetensors", f"{d}/teacher.safetensors"], check=True)


def take(line, names, steps, gradient=None):
    """Wants from the last stage of a line: the batches' tensors; with a gradient the client plays the loss."""
    client, got = Client(line[-1].stdout.readline().decode(), "loss"), []
    schema = client.open()
    for step in range(steps):
        client.want(step, names)
        got.append(client.take().tensors)
        if gradient:
            client.grad(step, {"q0": np.zeros_like(got[-1]["q0"])}, {"loss": 0.0}, {})
    client.close()
    line.wait(20)
    return schema, got


def test_pass_through(d):
    plain = Line(AUGMENT, STUDENT + ["plain"], LOSS, cwd=d).wait()
    taught = Line(AUGMENT, TEACHER, STUDENT + ["taught"], LOSS, cwd=d).wait()
    check("a line of four", plain.codes == [0] * 3 and taught.codes == [0] * 4 and not taught.words,
          f"{taught.codes} {taught.stderr}")
    (a, _), (b, meta) = (safetensors(f"{d}/{x}/model.safetensors") for x in ("plain", "taught"))
    check("a teacher that nobody asks changes nothing", all(np.array_equal(a[n], b[n]) for n in a) and len(a) == len(b))
    kept = meta["lineage"].split("\n")
    check("but stands in the lineage, where each stage has its line",
          [x.split(" ")[0] for x in kept] == ["augment", "encode", "encode", "loss", ""] and
          "--as t" in kept[1] and kept[3] == "loss moco:k=64", meta)
    model = content(f"{d}/taught/model.safetensors")
    os.unlink(f"{d}/taught/model.safetensors")
    again = Line(AUGMENT, TEACHER, STUDENT + ["taught"], cwd=d, stdout=subprocess.PIPE)
    again[-1].stdout.readline()
    check("a model that is written again before the loss has come is the same", content(f"{d}/taught/model.safetensors") == model)
    again.kill(-1)
    again.wait(20)


def test_teacher(d):
    line = Line(AUGMENT, TEACHER, cwd=d, stdout=subprocess.PIPE)
    _, direct = take(line, ["t0", "t1", "index"], 3)
    check("a teacher alone", line.codes == [0, 0] and direct[0]["t0"].shape == (8, 24) and not line.stderr,
          f"{line.codes} {line.stderr}")
    line = Line(AUGMENT, TEACHER, ["encode"] + NET + ["--dim", "12", "--frozen", "--as", "t"], cwd=d, stdout=subprocess.PIPE)
    schema, nearest = take(line, ["t0", "tfeature0"], 1)
    check("of two that make one name the nearer is meant", schema.offers["t0"] == ("f32", (8, 12))
          and nearest[0]["t0"].shape == (8, 12), schema.offers)
    line = Line(AUGMENT, TEACHER, STUDENT + ["asked"], cwd=d, stdout=subprocess.PIPE)
    schema, through = take(line, ["q0", "k1", "t0", "t1", "label", "index"], 3, gradient=True)
    check("the student offers what its teacher makes", schema.offers["t0"] == ("f32", (8, 24))
          and schema.offers["q0"] == ("f32", (8, 16)),
          schema.offers)
    check("and passes it on untouched",
          all(np.array_equal(x[n], y[n]) for x, y in zip(direct, through) for n in ("t0", "t1", "index")))
    lineage = schema.text("lineage").split("\n")
    check("lineage: a line a stage", [x.split()[0] for x in lineage if x] == ["augment", "encode", "encode"], lineage)


def test_missing_teacher(d):
    line = Line(AUGMENT, STUDENT + ["none"], cwd=d, stdout=subprocess.PIPE)
    client = Client(line[-1].stdout.readline().decode(), "loss")
    client.open()
    client.want(0, ["q0", "t0"])
    try:
        client.take()
        fault = None
    except Fault as f:
        fault = f
    client.socket.close(linger=0)
    line.wait(20)
    check("a teacher that is missing: the option that makes one is named", fault is not None and fault.code == 2
          and "--as t" in fault.sentence and
          len(line.words) == 1, f"{fault} {line.stderr}")


def test_deaths(d):
    whole = content(f"{d}/taught/checkpoint.safetensors")
    for victim, (who, code) in enumerate((("encode", 3), ("encode", 3), ("loss", 3), ("encode", 137))):
        subprocess.run(["rm", "-rf", f"{d}/taught"], check=True)
        stages = (AUGMENT, TEACHER, STUDENT + ["taught"], LOSS)
        line = Line(*stages, cwd=d)
        until(lambda: line.steps() > 5 or line[-1].poll() is not None)
        line.kill(victim, sig=signal.SIGKILL)
        line.wait(20)
        name = ("augment", "teacher", "student", "loss")[victim]
        check(f"{name} killed", line.code == code and [w.split(":")[0] for w in line.words] == [who],
              f"{line.codes} {line.stderr}")
        again = Line(*stages, cwd=d).wait()
        check(f"{name} killed: the same line, the same end", again.codes == [0] * 4 and not again.words and
              content(f"{d}/taught/checkpoint.safetensors") == whole, f"{again.codes} {again.stderr}")


if __name__ == "__main__":
    with folder() as d:
        images(f"{d}/data", 32)
        make_teacher(d)
        test_pass_through(d)
        test_teacher(d)
        test_missing_teacher(d)
        test_deaths(d)
    lines.done()
