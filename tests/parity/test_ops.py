"""test_ops - every operation of lib/nn alone against PyTorch in float64: values, gradients, running statistics

The cases are ops_cases.py's; reference() runs their rows in PyTorch. Some run once more on every instruction set that this
machine has (SPRAT_ISA), and in bf16 beside PyTorch's autocast (products.py). What is too far away judges.py says.
"""
import ctypes as C
import math
import sys

import numpy as np

from isa_sets import EMULATED, choose, here, sets
from judges import judge_bf16, judge_f32
from ops_cases import (ATTENTION, CASES, CONV, DEPTHWISE, LAYERNORM, LINEAR, MAXPOOL, MEANPOOL, NONE, SHUFFLE, SILU, SLICE,
                       SQUEEZE, SUM, TILED, TOKEN, TOKENS)
from products import autocast
from sprat_ct import BACKENDS, aligned, check, done, lib, ptr, why

import torch
import torch.nn.functional as F

ACTS = [lambda z: z, F.relu, F.relu6, F.hardswish, F.hardsigmoid, F.silu, torch.sigmoid, lambda z: F.gelu(z)]
MEAN = np.float32([0.4, 0.45, 0.5])
STD = np.float32([0.2, 0.22, 0.24])
EPS, MOMENTUM, TRAIN, EVAL = 1e-3, 0.2, 0, 2
BOUNDS = {"value": 2e-6, "evaluation": 2e-6, "running": 2e-6, "gradient": 2e-5}

for name in ("nn_rows", "nn_net", "nn_pass", "pass_output"):
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
            raise ValueError(why())
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
        lib.pass_forward(self.work, ptr(self.params), ptr(self.buffers), ptr(views), len(views), mode)
        f = C.cast(lib.pass_output(self.work, 0), C.POINTER(C.c_float))
        return np.ctypeslib.as_array(f, (len(views), lib.net_width(self.net, 0))).copy()

    def backward(self, d):
        grads = np.zeros_like(self.params)
        lib.pass_backward(self.work, ptr(self.params), (C.c_void_p * 3)(ptr(d), None, None), ptr(grads))
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
            first, others = p[f"row{i}.cls_token"].expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)
            x = torch.cat([first, others], 1) + p[f"row{i}.pos_embed"]
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
    errors = [f"{kind} {error:.1e}, PyTorch's {torchs:.1e}, {tensor}" for kind, (_, error, torchs, tensor) in rows.items()]
    check(name, all(times <= 1 for times, *_ in rows.values()), "; ".join(errors))


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


def run_cases():
    for title, rows, h, w in CASES:
        run(title, rows, h, w, 5)
    elsewhere = {"view", "drop"}  # the second in test_drop.py
    names = ("conv", "depthwise", "conv", "maxpool", "meanpool", "meanpool", "sum", "tokens", "token", "layernorm", "attention",
             "drop", "shuffle", "slice")
    covered = elsewhere | {"stem" if i == 0 and r[0] == CONV and r[2] == 3 else names[r[0]]
                           for _, rows, _, _ in CASES for i, r in enumerate(rows)}
    names = {lib.nn_op_name(i).decode() for i in range(lib.nn_ops())}
    check("every operation of the table has a case", names == covered, f"{names ^ covered}")


def smooth(rows):
    """The same rows with every activation SiLU: at a kink a slope depends on the rounding."""
    places = {CONV: (5,), DEPTHWISE: (4,), LINEAR: (2,), SQUEEZE: (2, 3), SUM: (2,)}
    return [tuple(SILU if i in places.get(r[0], ()) and v != NONE else v for i, v in enumerate(r)) for r in rows]


def run_sets():
    """The same on narrower vectors and in bf16."""
    isas = sets("every third case")
    narrow = isas + [EMULATED] * (isas[-1] == "avx512bf16" and here(EMULATED, "every third case"))
    for title, rows, h, w in CASES[::3]:
        run(title, rows, h, w, 3, ("blas",), isas)
        if (MAXPOOL, 3, 1, 1) not in rows:   # numbers made equal by rounding
            run_bf16(title, smooth(rows), h, w, narrow)
    for title, rows, h, w, batch in TILED:
        run_bf16(title, smooth(rows), h, w, narrow[-1:], batch)


torch.set_num_threads(1)
run_cases()
run_sets()
sys.exit(done())
