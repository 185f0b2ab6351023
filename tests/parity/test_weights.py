"""test_weights - encode -w: files of every architecture under torchvision's names in every type, our own in f16 and bf16,
checkpoints; teachers, and one in training mode; what does not fit is refused by the names and shapes of tensors"""
import glob
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "pipe"))
import numpy as np
from lines import Line, images
from peer import Client

from net_torch import backbone, normalised
from sprat_ct import check, done, relative, safetensors_read, safetensors_write
from test_model import FULL, TESTED, TYPES, WHOLE, as_file, published, theirs

import torch

SIZE, BATCH = 64, 8
AUGMENT = ["augment", "-q", "-j1", "--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225", "--batch", str(BATCH), "--size"]
TRAIN = AUGMENT + ["32", "--recipe", "moco-cifar", "--epochs", "1", "data"]
NET = ["encode", "-q", "-j1", "-a", "mobilenet_v3_small", "--small", "--dim", "16"]
LOSS = ["loss", "-q", "-j1", "moco:k=64"]


def served(d, path, names, *options, size=SIZE):
    """The first batch that a frozen encode makes of these weights: {name: array}; None and what it said if it refused."""
    line = Line(AUGMENT + [str(size), "--eval", "data"], ["encode", "-q", "-j2", "--eval", "-w", path, *options], cwd=d,
                stdout=subprocess.PIPE)
    ticket = line[1].stdout.readline().decode()
    if ticket.startswith("sprat1 fault") or not ticket:
        line.wait(20)
        return None, line
    client = Client(ticket, "probe")
    client.open()
    client.want(0, names)
    got = client.take().tensors
    client.close()
    line.wait(20)
    return got, line


def torchvisions(arch):
    """A published network for pictures of SIZE."""
    state = dict(published(arch))
    if "pos_embed" in state:
        state["pos_embed"] = 0.02 * torch.randn(1, (SIZE // 16) ** 2 + 1, state["pos_embed"].shape[2])
    return state


def test_published(d, arch, dtype):
    held = as_file(f"{d}/theirs.safetensors", torchvisions(arch), TYPES[dtype])
    got, line = served(d, "theirs.safetensors", ["view0", "feature0"], "-a", arch)
    if check(f"{arch}: encode -w takes torchvision's weights, {dtype}", got is not None, f"{line.codes} {line.stderr}"):
        reference, single = (theirs(arch, False, held, got["view0"], t) for t in (torch.float64, torch.float32))
        error, allowed = relative(got["feature0"], reference), max(1e-4, 2 * relative(single, reference))
        check(f"{arch}: and gives torchvision's features, {dtype}", error < allowed, f"{error:.1e}")


def test_misfits(d, arch):
    state = {n: t.numpy() for n, t in torchvisions(arch).items() if t.is_floating_point()}
    name = next(n for n in state if state[n].ndim == 1 and "head" not in n and "fc." not in n)
    width = len(state[name])
    for label, tensors, words in (("a tensor of another shape", dict(state, **{name: state[name][1:]}),
                                   (f"'{name}'", f"[{width - 1}]", f"[{width}]")),
                                  ("a file without a tensor", {n: a for n, a in state.items() if n != name},
                                   (f"'{name}'", f"[{width}]"))):
        safetensors_write(f"{d}/misfit.safetensors", tensors)
        got, line = served(d, "misfit.safetensors", ["feature0"], "-a", arch)
        check(f"{arch}: {label} is refused by its name", got is None and line.code == 2 and len(line.words) == 1 and
              all(w in line.stderr for w in words + ("misfit.safetensors",)), f"{line.codes} {line.stderr}")


def rounded(source, path, code):
    """A file of ours in another type, and one in f32 of the same numbers."""
    tensors, meta = safetensors_read(source)
    held = {n: torch.from_numpy(a.copy()).to(TYPES[code]) for n, a in tensors.items()}
    raw = {n: t.view(torch.int16).numpy().view(np.uint16) if code == "bf16" else t.numpy() for n, t in held.items()}
    safetensors_write(path, raw, meta)
    safetensors_write(path + ".f32", {n: t.float().numpy() for n, t in held.items()}, meta)


def test_ours(d):
    line = Line(TRAIN, NET + ["-o", "run"], LOSS, cwd=d).wait()
    check("a run to take weights from", line.codes == [0] * 3, f"{line.codes} {line.stderr}")
    whole, line = served(d, "run/model.safetensors", ["q0", "feature0"], size=32)
    check("our model is served", whole is not None, line.stderr)
    got, line = served(d, "run/checkpoint.safetensors", ["q0", "feature0"], size=32)
    check("a checkpoint serves what its model does, head and all", got is not None and
          all(np.array_equal(got[n], whole[n]) for n in whole), f"{line.codes} {line.stderr}")
    for code in ("f16", "bf16"):
        rounded(f"{d}/run/model.safetensors", f"{d}/{code}.safetensors", code)
        narrow, wide = (served(d, f"{code}.safetensors{end}", ["q0", "feature0"], size=32)[0] for end in ("", ".f32"))
        check(f"our model in {code} serves what the same numbers do in f32", narrow is not None and
              all(np.array_equal(narrow[n], wide[n]) for n in narrow) and not np.array_equal(narrow["q0"], whole["q0"]))


def test_starting(d):
    """A run that starts from a checkpoint and learns nothing ends with its weights; one that learns goes on from there."""
    start, _ = safetensors_read(f"{d}/run/model.safetensors")
    for name, source in (("checkpoint", "run/checkpoint.safetensors"), ("model", "run/model.safetensors"),
                         ("bf16 file", "bf16.safetensors")):
        out = f"from-{name.replace(' ', '-')}"
        line = Line(TRAIN,
                    NET + ["-w", source, "--optim", "sgd:lr=0", "-o", out], LOSS, cwd=d).wait()
        same = line.codes == [0] * 3
        if same:
            want = safetensors_read(f"{d}/bf16.safetensors.f32")[0] if "bf16" in name else start
            end, _ = safetensors_read(f"{d}/{out}/model.safetensors")
            same = set(end) == set(want) and all(np.array_equal(end[n], want[n]) for n in want if "running_" not in n)
        check(f"a run starts from a {name}", same, f"{line.codes} {line.stderr}")


def teacher(d, *options, step=0, stream=("--eval", "twice")):
    """A step of a teacher's: {name: array}, and how the line ended."""
    line = Line(AUGMENT + [str(SIZE), *stream], ["encode", "-q", "-j2", "--frozen", "--as", "t", "-w", "teacher.safetensors",
                                                 "-a", "resnet18", *options], cwd=d, stdout=subprocess.PIPE)
    ticket, got = line[1].stdout.readline().decode(), None
    if ticket.startswith("sprat1 encode"):
        client = Client(ticket, "encode")
        client.open()
        client.want(step, ["view0", "tfeature0"])
        got = client.take().tensors
        client.close()
    line.wait(20)
    return got, line


def train_mode(state, views, parts, dtype):
    """PyTorch's network in training mode, part by part of the rows."""
    model = backbone("resnet18", False)
    model.load_state_dict({n: t for n, t in state.items() if n in model.state_dict()})
    with torch.no_grad():
        x = normalised(views, dtype)
        return torch.cat([model.train().to(dtype)(p) for p in x.chunk(parts)]).double().numpy()


def test_teacher(d):
    """In evaluation mode equal rows are equal bytes, whatever stands beside them; with --train-bn, as in PyTorch's training mode,
    they are those of their batch."""
    held = as_file(f"{d}/teacher.safetensors", torchvisions("resnet18"), torch.float32)
    same = shutil.copytree(f"{d}/data", f"{d}/twice")
    for i, path in enumerate(sorted(glob.glob(f"{same}/*/*.png"))):
        if i % BATCH < 3:       # three equal pictures in each of two batches, the others are other ones
            shutil.copy(sorted(glob.glob(f"{d}/data/*/*.png"))[0], path)
    for options, parts in (((), 0), (("--backend", "blas"), 0), (("--train-bn",), 1), (("--train-bn", "--microbatch", "4"), 2)):
        (first, line), (second, _) = (teacher(d, *options, step=step) for step in (0, 1))
        label = " ".join(options) or "no option"
        if not check(f"a teacher serves with {label}", first is not None and second is not None, line.stderr):
            continue
        equal = np.array_equal(first["view0"][1], second["view0"][1])
        alike = first["tfeature0"][1].tobytes() == second["tfeature0"][1].tobytes()
        check(f"{label}: equal rows of two batches are {'other' if parts else 'the same'} bytes", equal and alike == (parts == 0),
              "pictures differ" if not equal else "")
        views = first["view0"].copy()
        reference, single = (train_mode(held, views, parts, t) if parts else theirs("resnet18", False, held, views, t)
                             for t in (torch.float64, torch.float32))
        error, allowed = relative(first["tfeature0"], reference), max(1e-4, 2 * relative(single, reference))
        check(f"{label}: PyTorch's features in {'training' if parts else 'evaluation'} mode", error < allowed, f"{error:.1e}")
    for options, word in ((("--train-bn", "--dropout", ".1"), "leave --dropout"), (("--train-bn", "--eval"), "about teachers"),
                          (("--train-bn", "-a", "deit_tiny"), "no batch norm")):
        got, line = teacher(d, *options)
        said = got is None and line.code == 2 and word in line.stderr
        check(f"{' '.join(options)} is refused", said, f"{line.codes} {line.stderr}")


def main():
    with tempfile.TemporaryDirectory() as d:
        images(f"{d}/data", 2 * BATCH, size=SIZE)
        for i, arch in enumerate(TESTED):
            test_published(d, arch, list(TYPES)[i % len(TYPES)])
            if FULL or arch in WHOLE:
                test_misfits(d, arch)
        test_ours(d)
        test_starting(d)
        test_teacher(d)
    return done()


if __name__ == "__main__":
    sys.exit(main())
