"""test_ops - every operation of lib/nn alone against PyTorch in float64: values, gradients, running statistics

A case is a table of rows as in lib/nn/model/arch.h; reference() runs the same rows in PyTorch. Sizes and channel counts are odd on
purpose. Some cases run once more on every instruction set that this machine has (SPRAT_ISA), and in bf16 beside PyTorch's autocast (products.py).
What is too far away judges.py says.
"""
import ctypes as C
import math
import os
import sys

import numpy as np
from scipy import special

from judges import judge_bf16, judge_f32
from products import autocast
from sprat_ct import BACKENDS, aligned, check, done, lib, ptr, skip
import torch
import torch.nn.functional as F

CONV, DEPTHWISE, LINEAR, MAXPOOL, MEANPOOL, SQUEEZE, SUM, TOKENS, TOKEN, LAYERNORM, ATTENTION, _, SHUFFLE, SLICE = range(14)
NONE, RELU, RELU6, HSWISH, HSIGMOID, SILU, SIGMOID, GELU = range(8)
ACTS = [lambda z: z, F.relu, F.relu6, F.hardswish, F.hardsigmoid, F.silu, torch.sigmoid, lambda z: F.gelu(z)]
MEAN = np.float32([0.4, 0.45, 0.5])
STD = np.float32([0.2, 0.22, 0.24])
EPS, MOMENTUM, TRAIN, EVAL = 1e-3, 0.2, 0, 2
BOUNDS = {"value": 2e-6, "evaluation": 2e-6, "running": 2e-6, "gradient": 2e-5}
ISAS = ("base", "avx2", "avx512", "avx512bf16", "amx")
EMULATED = "emulated amx"               # shim_amx.c
MOST = os.environ.get("SPRAT_ISA", "")   # tests/kind: as on a machine that has no more

for name in ("nn_rows", "nn_net", "nn_pass", "pass_feature"):
    getattr(lib, name).restype = C.c_void_p
lib.net_params.restype = lib.net_buffers.restype = C.c_int64
lib.nn_op_name.restype = C.c_char_p


class Net:
    def __init__(self, rows, h, w, batch, backend, bf16=False):
        table = np.zeros((len(rows), 8), np.int32)
        for i, r in enumerate(rows):
            table[i, : len(r)] = r
        self.handle = C.c_void_p(lib.nn_rows(ptr(table), len(rows), C.c_double(EPS), h, w, batch, backend.encode(), bf16))
        if not self.handle:
            raise ValueError(lib.why().decode())
        self.net, self.work = C.c_void_p(lib.nn_net(self.handle)), C.c_void_p(lib.nn_pass(self.handle))
        self.params, self.buffers = aligned(lib.net_params(self.net)), aligned(lib.net_buffers(self.net))
        self.tensors = []
        while True:
            name, buffer, shape = C.create_string_buffer(128), C.c_int(), (C.c_int64 * 4)()
            rank = lib.nn_tensor(self.handle, len(self.tensors), name, C.byref(buffer), shape)
            if rank < 0:
                break
            self.tensors.append((name.value.decode(), buffer.value, tuple(shape[:rank])))

    def set(self, values):
        for i, (name, buffer, _) in enumerate(self.tensors):
            lib.nn_set(self.handle, i, ptr(values[name]), ptr(self.buffers if buffer else self.params))

    def get(self, buffers, flat):
        out = {}
        for i, (name, buffer, shape) in enumerate(self.tensors):
            if bool(buffer) == buffers:
                out[name] = np.empty(shape, np.float32)
                lib.nn_get(self.handle, i, ptr(flat), ptr(out[name]))
        return out

    def forward(self, views, mode):
        lib.net_forward(self.net, self.work, ptr(self.params), ptr(self.buffers), ptr(views), len(views), mode)
        f = C.cast(lib.pass_feature(self.work), C.POINTER(C.c_float))
        return np.ctypeslib.as_array(f, (len(views), lib.net_feature_dim(self.net))).copy()

    def backward(self, d):
        grads = np.zeros_like(self.params)
        lib.net_backward(self.net, self.work, ptr(self.params), ptr(d), None, ptr(grads))
        return grads

    def close(self):
        lib.nn_free(self.handle)


def norm(z, p, name, mode):
    """Batch norm; in training the given statistics move towards the batch's."""
    gamma, beta = p[name + ".weight"], p[name + ".bias"]
    if mode == EVAL:
        return F.batch_norm(z, p[name + ".running_mean"], p[name + ".running_var"], gamma, beta, False, 0, EPS)
    wide = z.detach().to(gamma.dtype)
    for key, new in (("running_mean", wide.mean((0, 2, 3))), ("running_var", wide.var((0, 2, 3), unbiased=True))):
        p[f"{name}.{key}"] = (1 - MOMENTUM) * p[f"{name}.{key}"] + MOMENTUM * new
    return F.batch_norm(z, None, None, gamma, beta, True, 0, EPS)


def attention(x, heads, queries):
    n, c, h, w = x.shape
    q, k, v = x.reshape(n, 3, heads, c // 3 // heads, h * w).transpose(3, 4).unbind(1)
    y = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]), -1) @ v
    y = y.transpose(2, 3).reshape(n, c // 3, h, w)
    return y.reshape(n, c // 3, 1, h * w)[:, :, :, :queries] if queries else y


def reference(rows, p, x, mode):
    outputs, gate = [], None
    for i, (op, *v) in enumerate(rows):
        if op == SQUEEZE:
            s = F.adaptive_avg_pool2d(x, 1)
            s = ACTS[v[1]](F.conv2d(s, p[f"row{i}.fc1.weight"], p[f"row{i}.fc1.bias"]))
            x = x * ACTS[v[2]](F.conv2d(s, p[f"row{i}.fc2.weight"], p[f"row{i}.fc2.bias"]))
        elif op in (CONV, DEPTHWISE):
            name, (k, stride, pad, act, normed) = (f"row{i}.conv", v[1:]) if op == CONV else (f"row{i}.depthwise", v)
            bias = None if normed else p[name + ".bias"]
            x = F.conv2d(x, p[name + ".weight"], bias, stride, pad, 1, x.shape[1] if op == DEPTHWISE else 1)
            x = ACTS[act](norm(x, p, f"row{i}.norm", mode) if normed else x)
        elif op == LINEAR:
            x = ACTS[v[1]](F.linear(x.movedim(1, -1), p[f"row{i}.linear.weight"], p[f"row{i}.linear.bias"])).movedim(-1, 1)
        elif op == MAXPOOL:
            x = F.max_pool2d(x, *v)
        elif op == MEANPOOL:
            x = F.adaptive_avg_pool2d(x, 1)
        elif op == SUM:
            x = ACTS[v[1]](x + outputs[v[0]])
        elif op == TOKENS:
            x = torch.cat([p[f"row{i}.cls_token"].expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], 1) + p[f"row{i}.pos_embed"]
            x = x.transpose(1, 2)[:, :, None]
        elif op == TOKEN:
            x = x[:, :, :1, :1]
        elif op == LAYERNORM:
            gamma, beta = p[f"row{i}.norm.weight"], p[f"row{i}.norm.bias"]   # of f32 with bfloat16 PyTorch 1.13 has no layer norm
            x = F.layer_norm(x.movedim(1, -1).to(gamma.dtype), x.shape[1:2], gamma, beta, EPS).movedim(-1, 1)
        elif op == SHUFFLE:
            x = torch.stack([outputs[v[0]], x], 2).flatten(1, 2)
        elif op == SLICE:
            x = x[:, v[0] : v[0] + v[1]]
        elif op == ATTENTION:
            x = attention(x, *v)
        outputs.append(x)
    return x.permute(0, 2, 3, 1).flatten(1)


def draw(net, rng):
    values = {}
    for name, _, shape in net.tensors:
        kind = name.rsplit(".", 1)[1]
        v = rng.standard_normal(shape)
        if kind == "running_var":
            v = 0.5 + np.abs(v)
        elif len(shape) > 1:
            v /= math.sqrt(np.prod(shape[1:]))
        elif "norm" in name and kind == "weight":
            v = 1 + 0.3 * v
        values[name] = v.astype(np.float32)
    return values


class Trial:
    """One draw of weights, pictures and the output's gradient for a case, and what PyTorch makes of it."""

    def __init__(self, title, rows, h, w, batch, draw_number=0):
        rng = np.random.default_rng([len(title) + h, draw_number])
        net = Net(rows, h, w, batch, "blas")
        self.rows, self.h, self.w, self.batch, self.values = rows, h, w, batch, draw(net, rng)
        net.close()
        self.views = rng.integers(0, 256, (batch, h, w, 3), np.uint8)
        self.d, self.rng = None, rng

    def torch(self, dtype):
        """{kind: {tensor: array}}; bfloat16 is autocast, as in net_torch."""
        held = torch.float32 if dtype == torch.bfloat16 else dtype
        x = torch.from_numpy(((self.views / 255.0 - MEAN.astype(np.float64)) / STD)).permute(0, 3, 1, 2).to(held)
        found = {}
        for mode, kind in ((EVAL, "evaluation"), (TRAIN, "value")):
            p = {k: torch.tensor(v, dtype=held, requires_grad="running" not in k) for k, v in self.values.items()}
            with autocast(dtype):
                y = reference(self.rows, p, x, mode).to(held)
            found[kind] = {"output": y.detach().double().numpy()}
        if self.d is None:
            self.d = self.rng.standard_normal(y.shape).astype(np.float32)
        y.backward(torch.from_numpy(self.d).to(held))
        found["running"] = {k: v.detach().double().numpy() for k, v in p.items() if "running" in k}
        found["gradient"] = {k: v.grad.double().numpy() for k, v in p.items() if "running" not in k}
        return found

    def ours(self, backend, bf16=False):
        net, found = Net(self.rows, self.h, self.w, self.batch, backend, bf16), {}
        net.set(self.values)
        found["evaluation"] = {"output": net.forward(self.views, EVAL)}
        still = net.get(True, net.buffers)
        check_quietly(all((still[k] == self.values[k]).all() for k in still), "evaluation changes the statistics it is given")
        found["value"] = {"output": net.forward(self.views, TRAIN)}
        found["running"] = {k: (1 - MOMENTUM) * self.values[k] + MOMENTUM * v for k, v in net.get(True, net.buffers).items()}
        found["gradient"] = net.get(False, net.backward(self.d))
        net.close()
        return found


def check_quietly(good, because):
    if not good:
        check("every case", False, because)


def verdict(name, judge, ours, theirs, double):
    rows = {kind: judge(kind, ours[kind], theirs[kind], double[kind])[0] for kind in double if double[kind]}
    check(name, all(r[0] <= 1 for r in rows.values()), "; ".join(f"{kind} {r[1]:.1e}, PyTorch's {r[2]:.1e}, {r[3]}" for kind, r in rows.items()))


def choose(isa):
    """False: this machine has no such instructions."""
    emulated = isa == EMULATED
    found = lib.isa_choose(("avx512bf16" if emulated else isa or MOST).encode()) == 0
    return found and lib.amx_emulate(emulated) == 0


def run(title, rows, h, w, batch, backends=BACKENDS, isas=("",)):
    """A case in f32. isas: "" is the machine's best."""
    trial = Trial(title, rows, h, w, batch)
    double, single = trial.torch(torch.float64), trial.torch(torch.float32)
    for isa in isas:
        choose(isa)
        for backend in backends:
            verdict(f"{title}, {w}x{h}, {backend}{isa and ', ' + isa}",
                    lambda kind, *found: judge_f32(BOUNDS[kind], *found, floor=1e-2), trial.ours(backend), single, double)


DRAWS = 4       # of a case in bf16, whose errors are random


def run_bf16(title, rows, h, w, isas, batch=5):
    trials = [Trial(title, rows, h, w, batch, i) for i in range(DRAWS)]
    stacked = lambda found: {kind: {n: np.stack([f[kind][n] for f in found]) for n in found[0][kind]} for kind in found[0]}
    double, theirs = (stacked([t.torch(dtype) for t in trials]) for dtype in (torch.float64, torch.bfloat16))
    for isa in isas:
        choose(isa)
        for backend in BACKENDS:
            verdict(f"{title}, {w}x{h}, {backend}, {isa}, bf16", lambda kind, *found: judge_bf16(*found),
                    stacked([t.ours(backend, True) for t in trials]), theirs, double)


def stem(act=HSWISH, out=13):
    return (CONV, out, 1, 1, 0, act, 1)


CASES = [
    ("1x1 convolution", [stem(), (CONV, 21, 1, 1, 0, RELU, 1)], 7, 5),
    ("1x1 convolution, stride 2", [stem(), (CONV, 21, 1, 2, 0, NONE, 1)], 7, 5),
    ("1x1 convolution with bias", [stem(), (CONV, 5, 1, 1, 0, RELU, 0)], 7, 5),
    ("3x3 convolution", [stem(), (CONV, 17, 3, 1, 1, HSWISH, 1)], 7, 5),
    ("3x3 convolution without padding", [stem(), (CONV, 17, 3, 1, 0, RELU6, 1)], 7, 5),
    ("3x3 convolution, stride 2", [stem(), (CONV, 17, 3, 2, 1, NONE, 1)], 7, 5),
    ("3x3 convolution of the view, stride 2", [(CONV, 19, 3, 2, 1, HSWISH, 1)], 9, 7),
    ("7x7 convolution of the view, stride 2", [(CONV, 19, 7, 2, 3, RELU, 1)], 19, 23),
    ("5x5 convolution, wide, in bands", [stem(out=150), (CONV, 65, 5, 2, 2, RELU, 1)], 33, 41),
    ("3x3 convolution, in bands", [stem(out=70), (CONV, 130, 3, 1, 1, RELU, 1), (CONV, 30, 1, 1, 0, NONE, 1)], 40, 37),
    ("3x3 convolution of whole images", [stem(HSWISH, 32), (CONV, 48, 3, 1, 1, HSWISH, 1)], 19, 21),
    ("3x3 convolution of whole images, many channels", [stem(RELU, 16), (CONV, 80, 3, 1, 1, HSWISH, 1)], 12, 11),
    ("3x3 convolution of whole images, stride 2", [stem(NONE, 16), (CONV, 32, 3, 2, 1, RELU, 1)], 33, 18),
    ("3x3 convolutions of whole images, narrow", [stem(RELU, 32), (CONV, 64, 3, 2, 1, RELU, 1), (CONV, 16, 3, 1, 1, NONE, 1)], 13, 8),
    ("5x5 convolution of whole images without padding, narrow", [stem(RELU, 16), (CONV, 32, 5, 2, 0, NONE, 0)], 14, 9),
    ("3x3 convolution of whole pixels", [stem(RELU, 16), (CONV, 32, 3, 2, 1, NONE, 1), (CONV, 32, 3, 1, 1, NONE, 1)], 2, 1),
    ("7x7 convolution of whole views, stride 2", [(CONV, 32, 7, 2, 3, RELU, 1), (CONV, 16, 3, 1, 1, RELU, 0)], 39, 43),
    ("3x3 convolutions of whole images, gated and added", [stem(RELU, 16), (SQUEEZE, 5, HSWISH, RELU), (CONV, 16, 3, 1, 1, NONE, 1),
                                                           (CONV, 16, 3, 1, 1, NONE, 1), (SUM, 3, RELU), (MEANPOOL,)], 11, 10),
    ("layer norm before 3x3 of whole images", [stem(RELU, 16), (LAYERNORM,), (CONV, 16, 3, 1, 1, HSWISH, 1)], 9, 8),
    ("depthwise 3x3", [stem(), (DEPTHWISE, 3, 1, 1, HSWISH, 1)], 7, 5),
    ("depthwise 3x3, stride 2", [stem(), (DEPTHWISE, 3, 2, 1, RELU, 1)], 7, 5),
    ("depthwise 3x3, stride 2, even", [stem(), (DEPTHWISE, 3, 2, 1, RELU, 1)], 8, 12),
    ("depthwise 5x5", [stem(out=40), (DEPTHWISE, 5, 1, 2, RELU, 1)], 9, 11),
    ("depthwise 5x5, stride 2", [stem(out=40), (DEPTHWISE, 5, 2, 2, HSWISH, 1)], 9, 11),
    ("depthwise 5x5 on one pixel", [stem(out=40), (DEPTHWISE, 5, 2, 2, HSWISH, 0)], 1, 2),
    ("depthwise 7x7 with bias, stride 3", [stem(), (DEPTHWISE, 7, 3, 2, NONE, 0)], 17, 15),
    ("depthwise 2x2, stride 3", [stem(), (DEPTHWISE, 2, 3, 0, NONE, 0)], 11, 12),
    ("depthwise 3x3, in bands", [stem(out=200), (DEPTHWISE, 3, 2, 1, RELU, 1), (DEPTHWISE, 5, 1, 2, RELU, 1)], 45, 50),
    ("mean-pool and linear", [stem(RELU), (MEANPOOL,), (LINEAR, 11, HSWISH), (LINEAR, 6, NONE)], 7, 5),
    ("mean-pool of a sum", [stem(RELU), stem(NONE), (SUM, 0, RELU), (MEANPOOL,)], 7, 5),
    ("mean-pool of a large image", [stem(HSWISH), (MEANPOOL,)], 60, 61),
    ("max-pool", [stem(RELU), (MAXPOOL, 3, 2, 1)], 7, 5),
    ("max-pool, 2x2, in bands", [stem(NONE, 90), (MAXPOOL, 2, 2, 0)], 70, 50),
    ("max-pool, overlapping, in bands", [stem(out=150), (MAXPOOL, 3, 2, 1)], 61, 50),
    ("max-pool, overlapping, with padding", [stem(HSWISH), (MAXPOOL, 3, 1, 1), (CONV, 9, 1, 1, 0, NONE, 1)], 7, 6),
    ("squeeze", [stem(), (DEPTHWISE, 3, 1, 1, HSWISH, 1), (SQUEEZE, 8, RELU, HSIGMOID), (CONV, 10, 1, 1, 0, NONE, 1)], 7, 5),
    ("squeeze by sigmoid", [stem(SILU), (DEPTHWISE, 5, 1, 2, SILU, 1), (SQUEEZE, 4, SILU, SIGMOID), (CONV, 10, 1, 1, 0, SILU, 1)], 7, 5),
    ("squeeze before 3x3", [stem(RELU), (SQUEEZE, 5, HSWISH, RELU), (CONV, 10, 3, 1, 1, NONE, 1)], 7, 5),
    ("sum, both shared", [stem(), (CONV, 13, 3, 1, 1, NONE, 1), (SUM, 0, RELU), (CONV, 7, 1, 1, 0, NONE, 1)], 7, 5),
    ("sum of sums", [stem(NONE), (CONV, 13, 1, 1, 0, NONE, 1), (SUM, 0, NONE), (CONV, 13, 3, 1, 1, NONE, 1), (SUM, 2, NONE),
                     (CONV, 7, 1, 1, 0, NONE, 1)], 7, 5),
    ("sum of activations", [stem(), (CONV, 13, 1, 1, 0, HSWISH, 1), (SUM, 0, HSWISH), (CONV, 7, 1, 1, 0, NONE, 1), (CONV, 13, 3, 1, 1, NONE, 0),
                            (SUM, 2, NONE)], 7, 5),
    ("sum with an early reader", [stem(), (CONV, 13, 1, 1, 0, NONE, 1), (SUM, 0, NONE), (SUM, 0, RELU)], 7, 5),
    ("inverted bottleneck", [(CONV, 24, 3, 2, 1, HSWISH, 1), (CONV, 72, 1, 1, 0, HSWISH, 1), (DEPTHWISE, 5, 1, 2, HSWISH, 1),
                             (SQUEEZE, 24, RELU, HSIGMOID), (CONV, 24, 1, 1, 0, NONE, 1), (SUM, 0, NONE), (CONV, 60, 1, 1, 0, RELU6, 1),
                             (MEANPOOL,), (LINEAR, 33, HSWISH)], 14, 10),
    ("gelu", [stem(GELU), (CONV, 21, 3, 1, 1, GELU, 0), (LINEAR, 9, GELU)], 7, 5),
    ("tokens", [stem(GELU), (TOKENS,), (LINEAR, 9, NONE)], 7, 5),
    ("the first token", [stem(NONE), (TOKENS,), (TOKEN,), (LINEAR, 9, NONE)], 7, 5),
    ("a token and all of them", [stem(NONE), (TOKENS,), (LINEAR, 5, GELU), (LINEAR, 13, NONE), (SUM, 1, NONE), (TOKEN,)], 7, 5),
    ("layer norm", [stem(GELU), (LAYERNORM,), (LINEAR, 9, NONE)], 7, 5),
    ("layer norm as output", [(CONV, 33, 3, 1, 1, NONE, 0), (LAYERNORM,)], 7, 5),
    ("layer norm before 3x3", [stem(RELU), (LAYERNORM,), (CONV, 9, 3, 2, 1, HSWISH, 1)], 9, 8),
    ("layer norm before a depthwise convolution", [stem(NONE), (LAYERNORM,), (DEPTHWISE, 3, 1, 1, NONE, 1)], 7, 5),
    ("attention", [stem(NONE, 36), (ATTENTION, 2, 0), (LINEAR, 9, NONE)], 7, 5),
    ("attention of tokens", [(CONV, 10, 2, 2, 0, NONE, 0), (TOKENS,), (LINEAR, 90, NONE), (ATTENTION, 3, 0)], 14, 10),
    ("attention with one query", [(CONV, 10, 2, 2, 0, NONE, 0), (TOKENS,), (LINEAR, 90, NONE), (ATTENTION, 3, 1)], 14, 10),
    ("attention with five queries", [stem(NONE, 24), (ATTENTION, 1, 5), (LINEAR, 9, NONE)], 7, 5),
    ("a slice of the channels", [stem(NONE), (SLICE, 3, 7), (CONV, 9, 1, 1, 0, NONE, 1)], 7, 5),
    ("two slices", [stem(out=40), (SLICE, 0, 9), (CONV, 31, 1, 1, 0, HSWISH, 1), (SLICE, 22, 9), (SUM, 1, NONE)], 7, 5),
    ("shuffle", [stem(), (CONV, 13, 3, 1, 1, NONE, 1), (SHUFFLE, 0), (CONV, 7, 1, 1, 0, NONE, 1)], 7, 5),
    ("shuffle as output, in bands", [stem(out=150), (DEPTHWISE, 3, 1, 1, HSWISH, 1), (SHUFFLE, 0)], 41, 38),
    ("ShuffleNet unit", [stem(RELU, 26), (SLICE, 0, 13), (SHUFFLE, 1), (SLICE, 13, 13), (CONV, 13, 1, 1, 0, RELU, 1),
                         (DEPTHWISE, 3, 1, 1, NONE, 1), (CONV, 13, 1, 1, 0, RELU, 1), (SHUFFLE, 1), (MEANPOOL,)], 9, 8),
    ("transformer block", [(CONV, 20, 4, 4, 0, NONE, 0), (TOKENS,), (LAYERNORM,), (LINEAR, 60, NONE), (ATTENTION, 4, 0),
                           (LINEAR, 20, NONE), (SUM, 1, NONE), (LAYERNORM,), (LINEAR, 80, GELU), (LINEAR, 20, NONE),
                           (SUM, 6, NONE), (LAYERNORM,)], 24, 20),
]


# What AMX does without patches: rows of 16 pixels and what is left of a row, bands, pixels of 16 images and what is left of the
# images, strides, more channels than a step has, fewer, and odd numbers of them; squeezed inputs; views.
TILED = [
    ("tiled 3x3 in bands", [stem(RELU, 32), (CONV, 40, 3, 1, 1, RELU, 1)], 37, 40, 3),
    ("tiled 3x3 of few pixels", [stem(RELU, 48), (CONV, 72, 3, 1, 1, RELU, 1)], 4, 5, 38),
    ("tiled 3x3 on one row", [stem(RELU, 16), (CONV, 18, 3, 1, 1, RELU, 1)], 1, 17, 4),
    ("tiled 5x5", [stem(RELU, 20), (CONV, 34, 5, 1, 2, RELU, 1)], 9, 19, 5),
    ("tiled 3x3, odd channels", [stem(RELU, 17), (CONV, 33, 3, 1, 1, RELU, 1), (CONV, 29, 3, 2, 1, RELU, 1)], 9, 10, 19),
    ("tiled 3x3, stride 2", [stem(RELU, 32), (CONV, 64, 3, 2, 1, RELU, 1)], 29, 30, 3),
    ("tiled 3x3, stride 2, few pixels", [stem(RELU, 24), (CONV, 70, 3, 2, 1, RELU, 1)], 8, 7, 21),
    ("tiled 1x1, stride 2", [stem(RELU, 34), (CONV, 20, 1, 2, 0, NONE, 1)], 13, 14, 4),
    ("tiled 2x2, stride 3, without padding", [stem(RELU, 16), (CONV, 16, 2, 3, 0, RELU, 1)], 11, 13, 4),
    ("tiled 1x1 with bias, twice read", [stem(RELU, 40), (CONV, 40, 1, 1, 0, NONE, 0), (SUM, 0, RELU)], 11, 23, 3),
    ("tiled 7x7 of the view, stride 2", [(CONV, 34, 7, 2, 3, RELU, 1)], 33, 70, 3),
    ("tiled 3x3 of the view", [(CONV, 16, 3, 1, 1, RELU, 1)], 12, 37, 4),
    ("tiled 3x3 of small views, stride 2", [(CONV, 20, 3, 2, 1, RELU, 1)], 9, 7, 37),
    ("tiled 3x3 of views without padding", [(CONV, 20, 3, 1, 0, RELU, 1)], 5, 6, 18),
    ("tiled 8x8 of the view, stride 8", [(CONV, 40, 8, 8, 0, RELU, 0)], 17, 26, 3),
    ("tiled 3x3 of a squeezed input", [stem(RELU, 32), (SQUEEZE, 8, RELU, SIGMOID), (CONV, 32, 3, 1, 1, RELU, 1)], 7, 7, 18),
]


def run_cases():
    for title, rows, h, w in CASES:
        run(title, rows, h, w, 5)
    elsewhere = {"view", "drop"}  # the second in test_drop.py
    names = ("conv", "depthwise", "conv", "maxpool", "meanpool", "meanpool", "sum", "tokens", "token", "layernorm", "attention", "drop",
             "shuffle", "slice")
    covered = elsewhere | {"stem" if i == 0 and r[0] == CONV and r[2] == 3 else names[r[0]] for _, rows, _, _ in CASES for i, r in
                           enumerate(rows)}
    names = {lib.nn_op_name(i).decode() for i in range(lib.nn_ops())}
    check("every operation of the table has a case", names == covered, f"{names ^ covered}")


def test_smooth(isa, act, steep):
    """Activations made of exponentials, in ulps of float32, and at the ends. steep: where the slope has zeros, hence no ulps."""
    z = aligned(1 << 18)
    z[:] = np.linspace(-87, 87, z.size)
    z[-6:] = -0.0, -1e4, 1e4, -np.inf if act == SIGMOID else -1e25, np.inf, np.nan
    value, slope = aligned(z.shape), aligned(z.shape)
    lib.nn_act(act, C.c_int64(z.size), ptr(z), ptr(value), ptr(slope))
    x = torch.from_numpy(z if steep else -np.abs(z)).double().requires_grad_()  # a sigmoid's slope is even; there PyTorch is exact
    ACTS[act](x).sum().backward()
    exact = ACTS[act](torch.from_numpy(z).double()).numpy()
    for what, got, want in (("value", value, exact), ("slope", slope, x.grad.numpy())):
        size = np.maximum(np.abs(want), 0.1 if what == "slope" and steep else 1.2e-38)
        ulps = np.abs(got[:-6] - want[:-6]) / size[:-6] * 2**23
        check(f"{isa}: {what} of activation {act} over [-87, 87]", ulps.max() < 4, f"{ulps.max():.1f} ulps at {z[ulps.argmax()]}")
    good = np.allclose(value[-6:-1], exact[-6:-1]) and np.isnan(value[-1]) and np.isnan(slope[-1])
    check(f"{isa}: the ends of activation {act}", good and np.isfinite(slope[-6:-2]).all(), f"{z[-6:]}: {value[-6:]} {slope[-6:]}")


def test_gelu(isa):
    """No further from the truth than PyTorch's float32 anywhere near, and small values keep their digits, which PyTorch's lose."""
    z = aligned(1 << 18)
    z[:] = np.linspace(-20, 20, z.size)
    z[-5:] = -0.0, -1e4, 1e4, np.inf, np.nan
    value, slope = aligned(z.shape), aligned(z.shape)
    lib.nn_act(GELU, C.c_int64(z.size), ptr(z), ptr(value), ptr(slope))
    exact, single = ([], [])
    for found, dtype in ((exact, torch.float64), (single, torch.float32)):
        x = torch.from_numpy(z).to(dtype).requires_grad_()
        y = F.gelu(x)
        y.sum().backward()
        found += [y.detach().numpy(), x.grad.numpy()]
    for what, ours, want, theirs in zip(("value", "slope"), (value, slope), exact, single):
        ours, theirs = (np.abs(a[:-5] - want[:-5]) / np.maximum(1, np.abs(want[:-5])) for a in (ours, theirs))
        check(f"{isa}: {what} of gelu", ours.max() <= theirs.max(), f"{ours.max():.1e} away, PyTorch's {theirs.max():.1e}")
    tail = (z > -8) & (z < -0.01)
    away = np.abs(value[tail] / (z[tail].astype(np.float64) * special.ndtr(z[tail].astype(np.float64))) - 1).max()
    check(f"{isa}: the tail of gelu", away < 5e-6, f"{away:.1e} of its size away")
    good = np.allclose(value[-5:-1], (0, 0, 1e4, np.inf), rtol=0, atol=1e-37) and np.isnan(value[-1]) and np.isnan(slope[-1])
    check(f"{isa}: the ends of gelu", good, f"{value[-5:]} {slope[-5:]}")


def test_rounded(isa, act):
    """Activations made of exponentials, stored in bf16: of every number up to 1e4, within six tenths of the last digit of the truth,
    where rounding alone takes five. A slope that is nearly zero is held to the digits of 0.1; so are values to those of 1e-31."""
    bits = np.arange(1 << 16, dtype=np.uint32)
    bits = bits[np.abs((bits << 16).view(np.float32)) < 1e4].astype(np.uint16)
    bits = np.resize(bits, -(-bits.size // 16) * 16)
    z, value, slope = (aligned(bits.size, np.uint16) for _ in range(3))
    z[:] = bits
    lib.nn_act_bf16(act, C.c_int64(z.size), ptr(z), ptr(value), ptr(slope))
    z, value, slope = ((a.astype(np.uint32) << 16).view(np.float32).astype(np.float64) for a in (z, value, slope))
    x = torch.from_numpy(z).requires_grad_()
    y = ACTS[act](x)
    y.sum().backward()
    exact = z * special.ndtr(z) if act == GELU else y.detach().numpy()   # 1 + erf() has no digits left for the tail
    for what, got, want in (("value", value, exact), ("slope", slope, x.grad.numpy())):
        steps = np.abs(got - want) / np.exp2(np.floor(np.log2(np.maximum(np.abs(want), 0.1 if what == "slope" else 1e-31))) - 7)
        check(f"{isa}: {what} of activation {act} in bf16", steps.max() < 0.6, f"{steps.max():.2f} steps at {z[steps.argmax()]}")


def test_narrow(isa):
    """Rounding to bf16 is PyTorch's, on random, halfway, huge, tiny and infinite numbers, of any count. What is not a number stays
    one. AVX512-BF16's instruction takes denormals for zeros of their sign."""
    rng = np.random.default_rng(3)
    bits = np.concatenate([rng.integers(0, 2**32, 1 << 16, np.uint64).astype(np.uint32),
                           (rng.integers(0, 2**16, 1 << 12).astype(np.uint32) << 16) + 0x8000,     # halfway, to even and to odd
                           np.uint32([0, 1 << 31, 1, 0x7fff, 0x8000, 0x7f7f7fff, 0x7f7f8000, 0x7f7fffff, 0xff7fffff, 0x7f800000,
                                      0xff800000, 0x7fc00000, 0x7f810000, 0x00800000, 0x007fffff, 0x807fffff])])
    x = aligned(bits.size)
    x[:] = bits.view(np.float32)
    want = torch.from_numpy(x).bfloat16().view(torch.int16).numpy().view(np.uint16)
    for count in (x.size, 37, 1):
        start, got = x.size - count, np.zeros(count, np.uint16)
        lib.nn_narrow(C.c_int64(count), ptr(x[start:]), ptr(got))
        expected, sign = want[start:], got & 0x8000
        nan = np.isnan(x[start:])
        denormal = (np.abs(x[start:]) < 1.1754944e-38) & (isa in ("avx512bf16", "amx"))
        good = np.where(nan, (got & 0x7fff) > 0x7f80, (got == expected) | denormal & (got == sign) & (sign == expected & 0x8000))
        check(f"{isa}: {count} numbers rounded to bf16", good.all(), f"{(~good).sum()} are not, {x[start:][~good][:3]} among them")


def smooth(rows):
    """The same rows with every activation SiLU: at a kink a slope depends on the rounding."""
    places = {CONV: (5,), DEPTHWISE: (4,), LINEAR: (2,), SQUEEZE: (2, 3), SUM: (2,)}
    return [tuple(SILU if i in places.get(r[0], ()) and v != NONE else v for i, v in enumerate(r)) for r in rows]


def here(isa):
    found = choose(isa)
    if not found:
        skip(f"{isa}: every third case", lib.why().decode())
    return found


def run_sets():
    """The same on narrower vectors and in bf16."""
    isas = [isa for isa in ISAS[: ISAS.index(MOST) + 1 if MOST else None] if here(isa)]
    narrow = isas + [EMULATED] * (isas[-1] == "avx512bf16" and here(EMULATED))
    for title, rows, h, w in CASES[::3]:
        run(title, rows, h, w, 3, ("blas",), isas)
        if (MAXPOOL, 3, 1, 1) not in rows:   # numbers made equal by rounding
            run_bf16(title, smooth(rows), h, w, narrow)
    for title, rows, h, w, batch in TILED:
        run_bf16(title, smooth(rows), h, w, narrow[-1:], batch)
    for isa in isas:
        choose(isa)
        for act in (SILU, SIGMOID):
            test_smooth(isa, act, act == SILU)
        for act in (SILU, SIGMOID, GELU):
            test_rounded(isa, act)
        test_gelu(isa)
        test_narrow(isa)


torch.set_num_threads(1)
run_cases()
run_sets()
sys.exit(done())
