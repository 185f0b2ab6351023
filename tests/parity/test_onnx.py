"""test_onnx - encode --export: every architecture as ONNX (each both small and large with FULL=1) is accepted by the onnx
package's checker and its inference of shapes, and gives PyTorch's features and encode's own in onnxruntime and in OpenCV, for
batches of 1 and 3, with batch norm folded and kept, with the head, with pixels for input; a run's own model; paths, files and
options that cannot be"""
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "pipe"))
import numpy as np
from lines import BIN, Line, content, images

from net_ct import ARCHS, EVAL, MEAN, SHORT, STD, Net, Pass
from net_torch import backbone, make_head, normalised
from onnx_peers import Runtime, opencv
from sprat_ct import check, done, relative, safetensors_write, skip
from test_model import FULL, load
from test_weights import LOSS, NET, TRAIN, served
from vit_torch import KINDS as VITS

import torch

try:
    import onnx
except ImportError:
    onnx = None
try:
    import cv2
except ImportError:
    cv2 = None

BATCH, HEAD = 3, "24,bn,relu,16"
# What OpenCV 4.6 has not (Clip by inputs, as opset 11 and later have it), and of whom it reads nothing; and whose gates it
# multiplies by for one image only, unless the file says how many there are.
BEYOND_OPENCV = {"LayerNormalization": tuple(VITS), "Clip": ("mobilenet_v2",)}
GATED = ("mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0", "efficientnet_b1")
ALIKE = ("resnet34", "mobilenet_v3_large")     # sisters of others, too
BOTH = ("resnet18", "mobilenet_v3_small", "deit_tiny")     # for pictures and for small ones in a short run too
NORMS = (torch.nn.BatchNorm2d, torch.nn.BatchNorm1d)


def numbers(v):
    return ",".join(f"{x:g}" for x in v)


def network(arch, small, size):
    """A PyTorch network whose batch norm has seen something, and a head."""
    torch.manual_seed(5)
    body = backbone(arch, small).eval()
    if arch in VITS:
        patches = (size // (4 if small else 16)) ** 2
        body.pos_embed = torch.nn.Parameter(0.02 * torch.randn(1, patches + 1, VITS[arch].width))
    with torch.no_grad():
        width = body(torch.zeros(1, 3, size, size)).shape[1]
        head = make_head(HEAD, width, 16).eval()
        for m in (*body.modules(), *head.modules()):
            if isinstance(m, NORMS):
                for t, low, high in ((m.running_var, 0.5, 2), (m.running_mean, -0.3, 0.3), (m.weight, 0.5, 1.5),
                                     (m.bias, -0.3, 0.3)):
                    t.uniform_(low, high)
    return body, head


def write(path, body, head=None, **meta):
    state = {n: t.numpy() for n, t in body.state_dict().items() if t.is_floating_point()}
    if head:
        state.update({f"head.{n}": t.numpy() for n, t in head.state_dict().items() if t.is_floating_point()})
        meta["head"] = HEAD
    safetensors_write(path, state, meta)


def export(d, *options, env=None):
    """stdin stays open and is never read."""
    reader, writer = os.pipe()
    try:
        return subprocess.run([f"{BIN}/encode", "-j2", *options], cwd=d, stdin=reader, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=600, env=env)
    finally:
        os.close(reader), os.close(writer)


def shape_of(value):
    return [x.dim_param or x.dim_value for x in value.type.tensor_type.shape.dim]


def test_file(label, path, body, head, size, form):
    """By the onnx package: valid, its shapes infer to what it says, and it says what it was asked for."""
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    shapes = {v.name: shape_of(v) for v in (*inferred.input, *inferred.output)}
    want = {"image": ["batch", 3, size, size], "feature": ["batch", head[0].in_features]}
    if form["head"]:
        want["q"] = ["batch", 16]
    check(f"{label}: inputs and outputs are those of the manual", shapes == want, f"{shapes}")
    norms = sum(isinstance(m, NORMS) for m in (*body.modules(), *(head.modules() if form["head"] else ())))
    found = sum(n.op_type == "BatchNormalization" for n in model.graph.node)
    check(f"{label}: batch norm is {'kept' if form['bn'] else 'folded'}", found == norms * form["bn"], f"{found} of {norms}")
    meta = {p.key: p.value for p in model.metadata_props}
    check(f"{label}: opset 17, mean and deviation are said", model.opset_import[0].version == 17 and
          meta["mean"] == numbers(MEAN) and meta["std"] == numbers(STD) and meta["size"] == str(size) and
          ("less mean" in meta["input"]) == (not form["pixels"]), f"{meta}")


def judge(label, name, got, references, ours):
    worst = max(relative(g, r) for g, r in zip(got, references))
    check(f"{label}: {name} gives PyTorch's {'features and q' if len(got) > 1 else 'features'}", worst < 1e-4, f"{worst:.1e}")
    error = relative(got[0], ours)
    check(f"{label}: and encode's", error < 1e-4, f"{error:.1e}")


def test_opencv(arch, label, d, x, names, references, ours):
    """Batches of 1 and of 3: what it reads is laid out anew for each."""
    lacks = next((op for op, archs in BEYOND_OPENCV.items() if arch in archs), None)
    try:
        one = opencv(f"{d}/net.onnx", x[:1], names)
    except cv2.error as error:
        check(f"{label}: OpenCV {cv2.__version__} lacks {lacks}", lacks and f"[{lacks}" in str(error), str(error)[-300:])
        return
    check(f"{label}: OpenCV reads it", not lacks, f"{lacks} is none it lacks any more")
    check(f"{label}: OpenCV takes one image", max(relative(a, b[:1]) for a, b in zip(one, references)) < 1e-4)
    try:
        got = opencv(f"{d}/net.onnx", x, names)
        check(f"{label}: OpenCV multiplies by gates", arch not in GATED, f"{arch} needs no batch of its own any more")
    except cv2.error as error:
        check(f"{label}: OpenCV {cv2.__version__} wants a batch where there are gates", arch in GATED, str(error)[-300:])
        got = opencv(f"{d}/three.onnx", x, names)
    judge(label, "OpenCV", got, references, ours)


def test_arch(d, runtime, arch, small):
    """One form of input, batch norm and head for pictures, the other for small ones."""
    size, label = 32 if small else 64, f"{arch}{' --small' if small else ''}"
    form = {"pixels": int(small), "head": int(not small), "bn": int(small)}
    body, head = network(arch, small, size)
    write(f"{d}/net.safetensors", body, head, arch=arch, small="yes" if small else "no", size=str(size), mean=numbers(MEAN),
          std=numbers(STD), sprat="0.1.0")
    path = f"{d}/net.onnx"
    form_text = "onnx:" + ",".join(f"{k}={v}" for k, v in form.items())
    said = export(d, "--export", "net.onnx", "-w", "net.safetensors", "--format", form_text)
    if not check(f"{label}: is written", said.returncode == 0 and said.stdout == "", said.stderr):
        return
    if arch in GATED:
        export(d, "--export", "three.onnx", "-w", "net.safetensors", "--format", f"{form_text},batch={BATCH}")
    if onnx:
        test_file(label, path, body, head, size, form)
    views = np.random.default_rng(3).integers(0, 256, (BATCH, size, size, 3), dtype=np.uint8)
    net = Net(arch, small, HEAD, 16, (size, size))
    answer, params, buffers = load(net, f"{d}/net.safetensors")
    ours = Pass(net, BATCH, False).forward(params, buffers, views, EVAL)[0]
    with torch.no_grad():
        feature = body.double()(normalised(views, torch.float64))
        references = [feature.numpy(), head.double()(feature).numpy()][:1 + form["head"]]
    x = (views.transpose(0, 3, 1, 2) / np.float32(255) if form["pixels"] else normalised(views, torch.float32).numpy())
    names = ["feature", "q"][:len(references)]
    if not runtime.why:
        got, one = runtime.run(path, (x, x[:1]), names)
        judge(label, "onnxruntime", got, references, ours)
        check(f"{label}: onnxruntime takes one image, too", max(relative(a, b[:1]) for a, b in zip(one, references)) < 1e-4)
    if cv2:
        test_opencv(arch, label, d, x, names, references, ours)


def test_run(d, runtime):
    """What a run leaves, exported with nothing said of it, gives in onnxruntime what encode serves."""
    line = Line(TRAIN, NET + ["-o", "run"], LOSS, cwd=d).wait()
    got, _ = served(d, "run/model.safetensors", ["view0", "feature0", "q0"], size=32)
    said = export(d, "--export", "run.onnx", "-w", "run/model.safetensors", "--format", "onnx:head=1")
    if not check("a run's model is served and exported", line.codes == [0] * 3 and got is not None and said.returncode == 0,
                 f"{line.codes} {line.stderr} {said.stderr}"):
        return
    check("and it is said that its statistics have not settled", "for a short time" in said.stderr, said.stderr)
    if not runtime.why:
        x = normalised(got["view0"].copy(), torch.float32).numpy()
        for name, value in zip(("feature", "q"), runtime.run(f"{d}/run.onnx", [x], ["feature", "q"])[0]):
            error = relative(value, got[f"{name}0"])
            check(f"a run's model: onnxruntime gives the {name} that encode serves", error < 1e-4, f"{error:.1e}")
    again = export(d, "-q", "--export", "again.onnx", "-w", "run/checkpoint.safetensors", "--format", "onnx:head=1")
    check("the checkpoint gives the same bytes", again.returncode == 0 and again.stderr == "" and
          content(f"{d}/again.onnx") == content(f"{d}/run.onnx"), again.stderr)


def test_foreign(d):
    """Weights of torch.save say neither architecture nor size; tokens are laid out for another size."""
    torch.save(backbone("shufflenet_v2_x1_0", False).state_dict(), f"{d}/net.pth")
    said = export(d, "--export", "pth.onnx", "-w", "net.pth", "-a", "shufflenet_v2_x1_0", "--size", "64")
    check("torch.save's file is exported", said.returncode == 0 and "[N,3,64,64]" in said.stderr, said.stderr)
    if onnx and said.returncode == 0:
        meta = {p.key: p.value for p in onnx.load(f"{d}/pth.onnx").metadata_props}
        check("a mean that nobody says is not made up", "mean" not in meta and meta["arch"] == "shufflenet_v2_x1_0", f"{meta}")


def test_refusals(d):
    body, head = network("shufflenet_v2_x1_0", True, 32)
    facts = dict(arch="shufflenet_v2_x1_0", small="yes", size="32")
    write(f"{d}/bare.safetensors", body, **facts)
    write(f"{d}/silent.safetensors", body)
    write(f"{d}/huge.safetensors", body, **dict(facts, size="90000"))
    with open(f"{d}/cut.safetensors", "wb") as f:
        f.write(content(f"{d}/bare.safetensors")[:-1000])
    vit, _ = network("deit_tiny", True, 32)
    write(f"{d}/vit.safetensors", vit, arch="deit_tiny", small="yes", size="32")
    os.mkdir(f"{d}/folder")
    with open(f"{d}/kept.onnx", "w") as f:
        f.write("as it was")
    bare = ["-w", "bare.safetensors"]
    for label, options, code, words in (
            ("a folder that is not there", ["--export", "none/net.onnx", *bare], 1, ("none/net.onnx", "No such file")),
            ("a folder for a file", ["--export", "folder", *bare], 1, ("'folder'",)),
            ("a full disk", ["--export", "/dev/full", *bare], 1, ("/dev/full", "No space")),
            ("a file cut short", ["--export", "kept.onnx", "-w", "cut.safetensors"], 1, ("cut.safetensors",)),
            ("a size that cannot be", ["--export", "kept.onnx", "-w", "huge.safetensors"], 1, ("huge.safetensors", "90000")),
            ("no weights", ["--export", "kept.onnx", "-a", "resnet18"], 2, ("-w FILE",)),
            ("no file of weights", ["--export", "kept.onnx", "-w", "nothing"], 1, ("'nothing'",)),
            ("no size", ["--export", "kept.onnx", "-w", "silent.safetensors", "-a", "shufflenet_v2_x1_0"], 2, ("--size N",)),
            ("no head", ["--export", "kept.onnx", *bare, "--format", "onnx:head=1"], 2, ("has no head", "head=1")),
            ("no mean", ["--export", "kept.onnx", *bare, "--format", "onnx:pixels=1"], 2, ("mean", "pixels=1")),
            ("a format that there is not", ["--export", "kept.onnx", *bare, "--format", "tf"], 2, ("'tf'", "onnx")),
            ("a parameter that there is not", ["--export", "kept.onnx", *bare, "--format", "onnx:fold=1"], 2, ("fold", "bn")),
            ("--eval", ["--export", "kept.onnx", *bare, "--eval"], 2, ("--export", "leave")),
            ("-o", ["--export", "kept.onnx", *bare, "-o", "run"], 2, ("--export", "leave")),
            ("a size of no whole patches", ["--export", "kept.onnx", "-w", "vit.safetensors", "--size", "30"], 2, ("patches",)),
    ):
        said = export(d, *options)
        check(f"{label} is refused", said.returncode == code and said.stdout == "" and said.stderr.count("encode: ") ==
              said.stderr.count("\n") == 1 and all(w in said.stderr for w in words), f"{said.returncode} {said.stderr}")
    check("what was at the path is still there", content(f"{d}/kept.onnx") == b"as it was" and
          not [n for n in os.listdir(d) if n.endswith(".tmp")], f"{os.listdir(d)}")
    for options in (["--size", "64"], ["--format", "onnx:bn=1"]):
        said = export(d, "-a", "resnet18", *options)
        check(f"{options[0]} without --export is refused", said.returncode == 2 and "--export FILE" in said.stderr, said.stderr)


def main():
    runtime = Runtime()
    for name, why in (("the onnx package's checker", "" if onnx else "python3-onnx is not installed"),
                      ("OpenCV's dnn", "" if cv2 else "python3-opencv is not installed"), ("onnxruntime", runtime.why)):
        if why:
            skip(name, why)
    with tempfile.TemporaryDirectory() as d:
        for i, arch in enumerate(ARCHS if FULL else [a for a in SHORT if a not in ALIKE]):
            for small in (False, True) if FULL or arch in BOTH else (i % 2 == 0,):
                test_arch(d, runtime, arch, small)
        images(f"{d}/data", 16, size=64)
        test_run(d, runtime)
        test_foreign(d)
        test_refusals(d)
    return done()


if __name__ == "__main__":
    sys.exit(main())
