"""test_net - whole networks against torchvision in float64: the parity that sprat promises

For every tensor the relative L2 error is at most the larger of a bound (1e-4 features and head output; 1e-3 gradients and BN
statistics) and twice the error of PyTorch's own float32 on the same input. Weights come from net_init, travel under
torchvision's names and are loaded with strict checks; BN scales and shifts are drawn anew, since ones and zeros hide mistakes.

bf16: test_net_bf16; steps of training: test_trainer. FULL=1 runs every size; else one an architecture. Batches are small: what
is compared is arithmetic, not learning.
"""
import functools
import sys
from dataclasses import replace

import numpy as np

import net_steps as steps
import vit_torch
from judges import judge_f32
from net_case import Case, pictures, situation, starting_weights
from net_ct import ARCHS, EVAL, KEY, OUTPUTS, SHORT, SISTERS, Net, Pass, lib
from net_steps import BACKENDS, F32, F64, FULL, evaluate, our_step, print_table, torch_step
from net_torch import PartsBN, Windows, normalised, outputs
from sprat_ct import check, done, relative

import torch

BOUNDS = {"outputs": 1e-4, "gradients": 1e-3, "statistics": 1e-3, "eval": 1e-4}
PREDICTOR = dict(head="48,bn,relu,32", predictor="40,bn,relu,32")
TWO = dict(head="48,bn,relu,32", predictor="sdv=40,bn,relu,32 tdv=24,relu,16")


def judge(kind, ours, single, double):
    return judge_f32(BOUNDS[kind], ours, single, double)


compare = functools.partial(steps.compare, judge)
notices = functools.partial(steps.notices, judge)


def test_step(case):
    double, single = torch_step(case, F64), torch_step(case, F32)
    for backend in BACKENDS:
        compare(case, backend, our_step(case, backend, room=case.batch + 3), single, double)


def test_evaluation(case):
    """After a step, by the statistics of its batch; and that keys, whose pass has no room for backward, do without predictor."""
    weights, views, d = situation(case)
    for backend in BACKENDS:
        net = case.net(backend)
        params, buffers = net.load(weights)
        net.step(params, buffers, views, d)
        compare(case, backend, *evaluate(case, net, params, buffers, F32))
        key, whole = (Pass(net, case.batch, grad) for grad in (False, True))
        for p in (key, whole):
            p.forward(params, buffers, views, EVAL)
        found, wanted = key.outputs(), whole.outputs()
        check(f"{case} {backend}: a key has all but the predictor's output", set(found) == {"feature", "head"} < set(wanted) and
              all(found[n].tobytes() == wanted[n].tobytes() for n in found), f"{set(found)} of {set(wanted)}, or other bytes")


# --- the comparison must be able to fail ---

def set_eps(model):
    for m in model.modules():
        if isinstance(m, PartsBN):
            m.eps = 1e-5


def scale_one_weight(model):
    with torch.no_grad():
        model.body.features[5].block[1][0].weight.mul_(1.01)


def scale_one_gradient(model):
    """By 0.5 %, that of the convolution before the last one."""
    model.body.features[11].block[3][0].weight.register_hook(lambda d: 1.005 * d)


def test_comparison(case):
    double, single = torch_step(case, F64), torch_step(case, F32)
    for kind in double:
        times = judge(kind, single[kind], single[kind], double[kind])[0][0]
        check(f"PyTorch's f32 passes as ours: {kind}", times <= 1, f"{times:.1f} times too far")
    for label, change, kinds in (("a wrong BN epsilon", set_eps, ("outputs", "gradients")),
                                 ("a weight scaled by 1 %", scale_one_weight, ("outputs", "gradients")),
                                 ("a gradient scaled by 0.5 %", scale_one_gradient, ("gradients",))):
        spoilt = torch_step(case, F32, change)
        for kind in kinds:
            notices(label, kind, spoilt, single, double)
    notices("BN of parts", "outputs", torch_step(replace(case, parts=2), F32), single, double)
    steps.notices_broken(judge, "gradients", single, double)


def cut_before(stem):
    """Takes the gradient that the head, or the predictor, hands on."""
    return lambda model: getattr(model, stem).register_forward_pre_hook(lambda module, args: (args[0].detach(),))


def test_comparison_of_outputs(case):
    """Of gradients that arrive at several outputs, and of the predictor."""
    double, single = torch_step(case, F64), torch_step(case, F32)
    for label, change, kind in (("a head that hands no gradient on", cut_before("head"), "gradients"),
                                ("a predictor that hands none on", cut_before("predictor"), "gradients"),
                                ("a predictor without batch norm", lambda model: model.predictor[1].eval(), "outputs")):
        notices(label, kind, torch_step(case, F32, change), single, double)


# --- all of it ---

# Parameters without the classifier: of torchvision's and timm's as they document them, of vit_tiny_ssl as Shi et al.'s code has
# it; of SwAV's as its paper rounds them (table 6), in millions.
COUNTS = {"resnet18": 11176512, "resnet34": 21284672, "resnet50": 23508032, "resnet101": 42500160, "resnet50w2": 94,
          "mobilenet_v2": 2223872, "mobilenet_v3_small": 1517856, "mobilenet_v3_large": 4202032, "efficientnet_b0": 4007548,
          "efficientnet_b1": 6513184, "shufflenet_v2_x1_0": 1253604, "deit_tiny": 5524416, "deit_small": 21665664,
          "vit_base": 85798656, "vit_tiny_ssl": 7286976}


def test_counts():
    for arch in ARCHS:
        count = sum(t.count for t in Net(arch, False, "none", 0, (224, 224)).tensors if not t.buffer)
        check(f"{arch}: as many parameters as published", COUNTS.get(arch) in (count, round(count * 1e-6)), count)


def test_names():
    """timm's names and shapes, from its list; and that what stands for timm computes what torchvision's own network does."""
    found, timms = {t.name: t.shape for t in Net("deit_tiny", False, "none", 0, (224, 224)).tensors}, vit_torch.names()
    check("deit_tiny: names and shapes are timm's", found == timms, f"{set(found.items()) ^ set(timms.items())}")
    case, kind, draw = Case("deit_tiny", False, 32, "none", batch=2), vit_torch.KINDS["deit_tiny"], np.random.default_rng(5)
    weights, x = starting_weights(case, draw), normalised(pictures(draw, case), F64)
    with torch.no_grad():
        ours = case.reference(weights, F64).body(x).numpy()
        state = {n: torch.from_numpy(a.copy()) for n, a in weights.items()}
        theirs = vit_torch.as_torchvision(kind, state, 32, vit_torch.PATCH).eval().to(F64)(x).numpy()
    check("deit_tiny: the reference is torchvision's network", relative(ours, theirs) < 1e-12, f"{relative(ours, theirs):.1e}")


def test_depthwise():
    """That what stands for PyTorch's depthwise convolutions in float64 computes what they do."""
    for k, stride in ((3, 1), (5, 2)):
        given = [torch.randn(*shape, dtype=F64, requires_grad=True) for shape in ((2, 7, 9, 12), (7, 1, k, k))]
        found = []
        for depthwise in (Windows.apply, lambda x, w, stride: torch.conv2d(x, w, None, stride, 0, 1, 7)):
            y = depthwise(*given, stride)
            found.append([y, *torch.autograd.grad(y.square().sum(), given)])
        error = max(relative(a.detach(), b.detach()) for a, b in zip(*found))
        check(f"the reference's depthwise {k}x{k} convolutions are PyTorch's", error < 1e-14, f"{error:.1e}")


def test_arch(arch):
    """One forward and backward with a head of two layers, a plain one too where pictures are small and a run is long."""
    for small, size in steps.sizes(arch):
        if FULL and size < 200:
            test_step(Case(arch, small, size, batch=4))
        test_step(Case(arch, small, size, "simple", batch=5))


def even_weights(t, draw):
    """Like starting_weights(), in an eighth of the time."""
    even = draw.random(t.shape, np.float32) - np.float32(0.5)
    if len(t.shape) in (2, 4):
        return even * np.float32((24 / np.prod(t.shape[1:])) ** 0.5)
    return 0.2 * even + np.float32({"weight": 0.7, "bias": 1, "running_var": 1}.get(t.name.split(".")[-1], 0))


def test_sister(arch):
    """Forward: its layers are tested in others, but not how many there are, how wide and how they are strung together."""
    case, draw = Case(arch, *steps.sizes(arch)[0], batch=2), np.random.default_rng(1)
    net, views = case.net("blas"), pictures(draw, case)
    weights = {t.name: even_weights(t, draw) for t in net.tensors}
    model = case.reference(weights, F64)
    with torch.no_grad():
        found = outputs(model, views, F64)
    double = {"outputs": {n: o.numpy() for n, o in zip(OUTPUTS, found)}, "statistics": model.named("statistics")}
    params, buffers = net.load(weights)
    p = Pass(net, case.batch, False)
    p.forward(params, buffers, views, KEY)
    compare(case, "blas", {"outputs": p.outputs(), "statistics": net.export(None, buffers)}, double, double)


def main():
    tiny = Case("mobilenet_v3_small", True, 32)
    lib.threads_set(2)
    test_counts()
    test_names()
    test_depthwise()
    test_comparison(tiny)
    for arch in ARCHS if FULL else SHORT:
        test_arch(arch)
    for arch in SISTERS:
        test_sister(arch)
    test_step(Case("resnet18", True, 32, batch=8))
    test_step(replace(tiny, size=30, width=45))
    for head in ("none", "linear", "wide", "deep", "48,bn,relu,32", "64,gelu,40,bn,relu,32,bn"):
        test_step(replace(tiny, head=head))
    for case in (replace(tiny, **PREDICTOR), replace(tiny, **TWO), Case("resnet18", True, 16, **PREDICTOR)):
        test_step(case)
        test_evaluation(case)
    test_comparison_of_outputs(replace(tiny, **PREDICTOR))
    print_table()
    return done()


if __name__ == "__main__":
    sys.exit(main())
