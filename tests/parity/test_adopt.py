"""test_adopt - weights as others keep them: torchvision's and timm's names for every architecture, in files of torch.save,
under the prefixes and in the dictionaries of training codes, give torchvision's features; what is taken and what is left aside
is said; a head that a file lacks is not made up"""
import os
import subprocess
import sys
import tempfile
from ctypes import c_char_p, c_int

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "pipe"))
import numpy as np
from lines import Line, images
from peer import Client, Fault

from net_ct import Net, P, declare, lib, ptr
from net_torch import backbone, normalised
from sprat_ct import check, done, relative, safetensors_write, why
from test_model import TESTED
from test_weights import AUGMENT, BATCH, SIZE, torchvisions
import vit_torch

import torch

declare("shim_adopt", c_int, P, c_char_p, P, P)
HERE = os.path.dirname(os.path.abspath(__file__))
TIMM_EPS = 1e-5


# --- their names ---

def timms(arch):
    """{name: shape} of timm's list, in its order."""
    rows = [line.split() for line in open(f"{HERE}/timm-{arch}.txt") if not line.startswith("#")]
    return {name: tuple(int(n) for n in shape.split("x")) for name, shape in rows}


def as_timm(arch, state):
    """torchvision's tensors under timm's names: both list them in the order of their layers."""
    ours = {n: t for n, t in state.items() if t.dim()}
    if arch in vit_torch.KINDS:
        return ours
    theirs = timms(arch)
    assert len(ours) == len(theirs), arch
    return {name: t.reshape(shape) for (name, shape), t in zip(theirs.items(), ours.values())}


def as_torchvision(arch, state):
    """What torchvision calls them: DeiT's by vit_torch's own list, the others are its own."""
    if arch not in vit_torch.KINDS:
        return dict(state)
    names = {n: vit_torch._renamed(n) for n in state if not n.startswith("head.")}
    return {names.get(n, n.replace("head.", "heads.head.")): t for n, t in state.items()}


def feature(arch, state, views, dtype, eps=None):
    model = backbone(arch, False)
    names = set(model.state_dict())
    model.load_state_dict({n: t for n, t in state.items() if n in names}, strict=True)
    for m in model.modules():
        if eps and isinstance(m, torch.nn.BatchNorm2d):
            m.eps = eps
    with torch.no_grad():
        return model.eval().to(dtype)(normalised(views, dtype)).double().numpy()


# --- what training codes make of it ---

def under(prefix, state):
    return {prefix + n: t for n, t in state.items()}


def other(state):
    return {n: t + 1 for n, t in state.items()}


def moco(state):
    both = dict(under("module.encoder_q.", state), **under("module.encoder_k.", other(state)))
    both.update({"module.queue": torch.ones(4, 8), "module.queue_ptr": torch.zeros(1, dtype=torch.int64),
                 "module.encoder_q.fc.0.weight": torch.ones(3, 3)})
    return {"epoch": 200, "arch": "none of ours", "state_dict": both,
            "optimizer": {"state": {0: {"momentum_buffer": torch.ones(5)}}, "param_groups": [{"lr": 0.03}]}}


WRAPPINGS = {
    "plain": lambda s: s,
    "DataParallel's": lambda s: under("module.", s),
    "MoCo's": moco,
    "MoCo v3's": lambda s: {"state_dict": dict(under("module.momentum_encoder.", other(s)), **under("module.base_encoder.", s))},
    "a model's": lambda s: {"model": s, "optimizer": {}, "lr_scheduler": {}, "epoch": 3},
    "DINO's": lambda s: {"teacher": under("backbone.", other(s)), "student": under("module.backbone.", s), "args": {"arch": "x"}},
    "a teacher's": lambda s: {"teacher": under("module.backbone.", s)},
    "solo-learn's": lambda s: {"state_dict": dict(under("backbone.", s), **under("momentum_backbone.", other(s)),
                                                  **{"projector.0.weight": torch.ones(2, 2)}),
                               "hyper_parameters": {"method": "byol"}},
    "an average's beside it": lambda s: {"state_dict_ema": other(s), "state_dict": s},
    "model.encoder": lambda s: under("model.encoder.", s),
    "with projector and predictor": lambda s: dict(s, **{
        "projector.0.weight": torch.ones(2, 2), "predictor.0.weight": torch.ones(2, 2),
        "head.0.weight": torch.ones(2, 2), "head.1.running_mean": torch.ones(2)}),
}


def adopted(net, path):
    params, buffers = net.vectors()
    params[:], buffers[:] = np.nan, np.nan
    answer = lib.shim_adopt(net.handle, path.encode(), ptr(params), ptr(buffers))
    return answer, net.export(params, buffers) if answer >= 0 else {}


def test_wrappings(path):
    """Every tensor of the backbone, bit by bit, whatever stands around it; the head stays as it was."""
    arch = "mobilenet_v3_small"
    net, state = Net(arch, False, "linear", 16, (64, 64)), torchvisions(arch)
    for name, wrap in WRAPPINGS.items():
        for kind, save in (("torch.save", lambda: torch.save(wrap(state), path)),
                           ("safetensors", lambda: safetensors_write(path, {n: t.numpy() for n, t in wrap(state).items()}))):
            if kind == "safetensors" and any(isinstance(t, dict) for t in wrap(state).values()):
                continue
            save()
            answer, got = adopted(net, path)
            same = answer == 0 and all((got[n] == state[n].numpy()).all() if not n.startswith("head.")
                                       else np.isnan(got[n]).all() for n in got)
            check(f"{name} weights are found, in {kind}", same, f"{answer} {why()}")
    for label, thing, words in (("two networks alike", dict(under("a.", state), **under("b.", state)),
                                 ("two networks", "'a.*'", "'b.*'")),
                                ("a network without a tensor",
                                 {"state_dict": under("module.", {n: t for n, t in state.items() if n != "classifier.0.bias"})},
                                 ("'state_dict.module.classifier.0.bias'",)),
                                ("more than the network has", {"state_dict": dict(state, extra=torch.ones(1))},
                                 ("'state_dict.extra'",)),
                                ("another network", torchvisions("resnet18"), ("'features.0.0.weight'",))):
        torch.save(thing, path)
        answer, _ = adopted(net, path)
        check(f"{label}: refused by name", answer == -1 and all(w in why() for w in words), f"{answer} {why()}")


def longer(names):
    """EfficientNet-B1's names from B0's: a block more in every stage."""
    found, blocks = [], {}
    for name in names:
        stage = name.split(".")[1] if name.startswith("blocks.") else None
        blocks.setdefault(stage, []).append(name)
    for stage, of in blocks.items():
        last = max(int(n.split(".")[2]) for n in of) if stage else 0
        stem = f"blocks.{stage}.{last}."
        more = [n.replace(stem, f"blocks.{stage}.{last + 1}.") for n in of if n.startswith(stem)] if stage else []
        found += [(n, stage) for n in of + more]
    first = [n for n, stage in found if stage is None]
    end = next(i for i, n in enumerate(first) if n.startswith("conv_head"))
    return first[:end] + [n for n, stage in found if stage] + first[end:]


def test_sisters(path):
    """DINO's files of DeiT-Small, teacher and student, and timm's names of EfficientNet-B1, tensor by tensor."""
    state, net = torchvisions("deit_small"), Net("deit_small", False, "none", 0, (SIZE, SIZE))
    head = {"head.mlp.0.weight": torch.ones(2, 2), "head.last_layer.weight_g": torch.ones(2, 1)}
    for label, thing, want in (("teacher's", {"teacher": under("backbone.", state)}, state),
                               ("plain", state, state),
                               ("training's", {"student": under("module.", dict(under("backbone.", state), **head)),
                                               "teacher": dict(under("backbone.", other(state)), **head)}, state)):
        torch.save(thing, path)
        answer, got = adopted(net, path)
        same = answer == 0 and all((got[n] == want[n].numpy()).all() for n in got)
        check(f"DINO's {label} weights of a DeiT-Small are found", same, f"{answer} {why()}")
    net, state = Net("efficientnet_b1", False, "none", 0, (SIZE, SIZE)), torchvisions("efficientnet_b1")
    ours, names = {n: t for n, t in state.items() if t.dim()}, longer(timms("efficientnet_b0"))
    torch.save(dict(zip(names, ours.values())), path)
    answer, got = adopted(net, path)
    check("timm's names of EfficientNet-B1 are found", len(names) == len(ours) and answer == 0 and
          all((got[n] == state[n].numpy()).all() for n in got), f"{answer} {why()}")


# --- encode ---

def line(d, path, names, *options):
    """({name: array} or None, the names that are offered, what was said, the line's code) of an evaluation by these weights."""
    stages = Line(AUGMENT + [str(SIZE), "--eval", "data"], ["encode", "-j2", *options] + (["-w", path] if path else []), cwd=d,
                  stdout=subprocess.PIPE)
    ticket, got, offers, fault = stages[1].stdout.readline().decode(), None, (), ""
    if ticket.startswith("sprat1 encode"):
        client = Client(ticket, "probe")
        offers = tuple(client.open().offers)
        client.want(0, names)
        try:
            got = client.take().tensors
            client.close()
        except Fault as f:
            fault = str(f)
    stages.wait(20)
    return got, offers, stages.stderr + fault, stages.code


def test_features(d, arch, i):
    """In a file of torch.save, torchvision's names and timm's, each in another wrapping."""
    state, wraps = torchvisions(arch), list(WRAPPINGS.items())
    for j, (label, names, eps) in enumerate((("torchvision", as_torchvision, None),
                                             ("timm", as_timm, TIMM_EPS if arch.startswith("mobilenet_v3") else None))):
        if (label == "timm" and arch.startswith("shufflenet")) or (label == "torchvision" and arch == "vit_tiny_ssl"):
            continue        # it has none
        if label == "timm" and arch.startswith("resnet"):
            check(f"{arch}: timm has torchvision's names", set(timms(arch)) == {n for n, t in state.items() if t.dim()})
            continue
        name, wrap = wraps[(2 * i + j) % len(wraps)]
        torch.save(wrap(names(arch, state)), f"{d}/theirs.pth")
        got, _, said, code = line(d, "theirs.pth", ["view0", "feature0"], "--eval", "-a", arch)
        if check(f"{arch}: encode -w takes {label}'s weights, {name}", got is not None, f"{code} {said}"):
            reference, single = (feature(arch, state, got["view0"], t, eps) for t in (torch.float64, torch.float32))
            error, allowed = relative(got["feature0"], reference), max(1e-4, 2 * relative(single, reference))
            check(f"{arch}: and gives its features, {label}'s", error < allowed, f"{error:.1e}")
            heads = [n for n in names(arch, state) if n.startswith(("fc.", "classifier.", "head"))]
            check(f"{arch}: the classifier is left aside by name, {label}'s",
                  any(n.split(".")[0] + ".* (" in said for n in heads), said)


def test_said(d):
    """The notes on what is taken and what is not; the architecture from the file, timm's by its name."""
    state = torchvisions("mobilenet_v3_small")
    torch.save(moco(state), f"{d}/moco.pth")
    _, _, said, _ = line(d, "moco.pth", ["feature0"], "--eval", "-a", "mobilenet_v3_small")
    check("what is taken and what is left aside is said", all(w in said for w in (
        "'state_dict.module.encoder_q.*'", "state_dict.module.encoder_k.* (210)", "state_dict.module.encoder_q.fc.* (1)",
        "state_dict.module.encoder_q.classifier.* (2)",
        "state_dict.module.queue,", "state_dict.module.queue_ptr", "optimizer.* (1)")), said)
    torch.save({"arch": "mobilenetv3_small_100", "state_dict": as_timm("mobilenet_v3_small", state)}, f"{d}/timm.pth")
    got, _, said, _ = line(d, "timm.pth", ["feature0"], "--eval")
    check("the architecture is read from a training code's file", got is not None and "timm's names" in said and "tf_" in said
          and "eps" in said, said)
    got, _, said, code = line(d, "timm.pth", ["feature0"], "--eval", "-a", "resnet18")
    check("and another -a refused", got is None and code == 2 and "mobilenet_v3_small" in said, said)
    torch.save({"arch": "tf_mobilenetv3_small_100", "state_dict": as_timm("mobilenet_v3_small", state)}, f"{d}/tf.pth")
    got, _, said, code = line(d, "tf.pth", ["feature0"], "--eval", "-a", "mobilenet_v3_small")
    check("a tf_ variant is refused where the file says so", got is None and code == 2 and "TensorFlow" in said, said)
    torch.save({"arch": "vit_small", "state_dict": under("module.base_encoder.", torchvisions("deit_small"))}, f"{d}/v3.pth")
    got, _, said, code = line(d, "v3.pth", ["feature0"], "--eval", "-a", "deit_small")
    check("MoCo v3's ViT-Small, of twice the heads, is refused where the file says so", got is None and code == 2 and
          "12 heads" in said, said)


def test_headless(d):
    """A file without a head: the feature alone is offered, and a name that cannot be had is a fault that says how to get it."""
    torch.save(torchvisions("mobilenet_v3_small"), f"{d}/plain.pth")
    net = ("-a", "mobilenet_v3_small")
    for name, options in (("q", ("--eval",)), ("t", ("--frozen", "--as", "t")),
                          ("q", ("--eval", "--head", "wide", "--dim", "8"))):
        got, offers, said, code = line(d, "plain.pth", [f"{name}0"], *options, *net)
        label = " ".join(options)
        check(f"{label}, no head: only the feature is offered", f"{'t' * ('--as' in options)}feature0" in offers
              and f"{name}0" not in offers and "view0" in offers, offers)
        check(f"{label}, no head: who asks for {name}0 is told", got is None and f"nobody gives '{name}0'" in said
              and "has a head" in said, said)
        check(f"{label}, no head: it is said", ("'plain.pth' has no head" in said) == (len(options) > 1), said)
    probe = Line(AUGMENT + [str(SIZE), "--eval", "data"], ["encode", "-q", "--eval", "-w", "plain.pth", *net],
                 ["probe", "-q", "--on", "q", "knn"], cwd=d).wait()
    check("probe --on q says what is missing", probe.code == 2 and "'q0'" in probe.stderr and "has a head" in probe.stderr,
          probe.stderr)
    got, offers, said, _ = line(d, None, ["q0"], "--eval", *net)
    check("without -w the random network is served, and said to be one", got is not None and "random" in said, said)
    trained = Line(AUGMENT + ["32", "--recipe", "moco-cifar", "--epochs", "1", "data"],
                   ["encode", "-w", "plain.pth", *net, "--dim", "16", "-o", "run"],
                   ["loss", "-q", "moco:k=64"], cwd=d).wait()
    check("a trained head starts at random, with a note",
          trained.codes == [0] * 3 and "has no head: it starts at random" in trained.stderr, trained.stderr)
    run = ("--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225")
    for dim, good in ((16, True), (8, False)):
        served = Line(["augment", "-q", "-j1", *run, "--batch", "8", "--size", "32", "--eval", "--holdout", "8", "data"],
                      ["encode", "-q", "-j1", "--eval", "-w", "run/model.safetensors", "--dim", str(dim)],
                      ["probe", "-q", "--on", "q", "metrics"], cwd=d).wait()
        check(f"--dim {dim} {'is that of the file' if good else 'where the file has 16 is refused'}",
              served.code == 0 if good else served.code == 2 and "16" in served.stderr and "--dim" in served.stderr,
              f"{served.codes} {served.stderr}")


def main():
    with tempfile.TemporaryDirectory() as d:
        images(f"{d}/data", 2 * BATCH, size=SIZE)
        test_wrappings(f"{d}/wrapped.pth")
        test_sisters(f"{d}/sisters.pth")
        for i, arch in enumerate(TESTED):
            test_features(d, arch, i)
        test_said(d)
        test_headless(d)
    return done()


if __name__ == "__main__":
    sys.exit(main())
