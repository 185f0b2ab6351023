"""net_ct - lib/nn's network as a Python object: flat vectors in, dictionaries of numpy arrays under torchvision's names out

    net = Net("resnet18", True, "linear", 32, (35, 35))
    params, buffers = net.init(7)
    out = net.step(params, buffers, views, [None, d])    {"feature", "head", "predictor", "grads"}; buffers move
    weights = net.export(params, buffers)                {"conv1.weight": array, ...}
"""
import ctypes
import os
from ctypes import c_char_p, c_double, c_int, c_int64, c_uint64, c_void_p

import numpy as np

from sprat_ct import aligned, lib, ptr, why

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
TRAIN, KEY, EVAL = range(3)
OUTPUTS = ("feature", "head", "predictor", "second predictor")   # of as many predictors as there may be
FEATURE, HEAD, PREDICTOR = range(3)
ROOM = 10   # outputs that a network may have


def declare(name, restype, *argtypes):
    function = getattr(lib, name)
    function.restype, function.argtypes = restype, argtypes


P = c_void_p
declare("shim_name", c_char_p, c_int, c_int)
declare("shim_net", P, c_char_p, c_int, c_char_p, c_char_p, c_int, c_int, c_int, c_double, c_double, P, P, c_char_p, c_int,
        c_char_p)
declare("shim_net_tensor", c_int, P, c_int, P, P)
declare("shim_net_export", None, P, c_int, P, P)
declare("shim_net_import", None, P, c_int, P, P)
declare("net_free", None, P)
declare("net_params", c_int64, P)
declare("net_buffers", c_int64, P)
declare("net_width", c_int, P, c_int)
declare("net_init", None, P, c_uint64, P, P)
declare("plan_new", P, P, c_int, c_int)
declare("plan_free", None, P)
declare("pass_new", P, P, c_int, c_int)
declare("pass_free", None, P)
declare("pass_output", P, P, c_int)
declare("nn_masks", None, P, c_uint64, c_int, c_int, c_int)
declare("nn_drop", c_int, P, c_int, c_int, P, P)
declare("pass_forward", None, P, P, P, P, c_int, c_int)
declare("pass_backward", None, P, P, P, P)
declare("ema_update", None, c_int64, c_double, P, P)
declare("shim_loss", P, c_char_p, c_int, c_int, c_uint64, P)
declare("shim_loss_step", c_double, P, c_int64, P, P, P, P)
declare("objective_free", None, P)
declare("shim_optim", P, c_char_p, c_double, P, P, c_int)
declare("shim_optim_slot", P, P, c_int, P)
declare("shim_optim_rate", c_double, c_char_p, c_int)
declare("shim_optim_free", None, P)
declare("optimiser_step", c_double, P, c_double, c_int64, P, P)
declare("shim_rate", c_double, c_char_p, c_double, c_int64, c_int64, c_double)


def _names(table):
    names, i = [], 0
    while (name := lib.shim_name(table, i)) is not None:
        names.append(name.decode())
        i += 1
    return names


ARCHS, OPTIMISERS, SCHEDULES = (_names(table) for table in range(3))
# Larger networks of the same layers as others: a short run has them go forward, and no more (test_net).
SISTERS = ("resnet101", "resnet50w2", "efficientnet_b1", "deit_small", "vit_base")
SHORT = tuple(a for a in ARCHS if a not in SISTERS)
if os.environ.get("SPRAT_ISA"):   # held to narrower instructions (tests/kind) loops are others, networks are not: one a family
    SISTERS, SHORT = (), ("resnet18", "mobilenet_v3_small", "shufflenet_v2_x1_0", "deit_tiny")


class Tensor:
    """One row of net_tensors()."""

    def __init__(self, handle, i):
        name, facts = ctypes.create_string_buffer(112), np.zeros(8, np.int64)
        lib.shim_net_tensor(handle, i, name, ptr(facts))
        self.name, self.buffer, self.norm_or_bias, self.count = name.value.decode(), bool(facts[0]), bool(facts[1]), int(facts[2])
        self.shape = tuple(int(n) for n in facts[4:4 + facts[3]])


class Net:
    """size: (height, width). Raises RuntimeError with the library's sentence."""

    def __init__(self, arch, small, head, dim, size, backend="blas", dropout=0.0, drop_path=0.0, precision="f32",
                 predictor="none", freeze="none"):
        self.kind, self.size = head, size
        self.texts = arch.encode(), head.encode(), backend.encode(), predictor.encode()  # the configuration may borrow them
        self.handle = lib.shim_net(self.texts[0], small, self.texts[1], self.texts[3], dim, *size, dropout, drop_path,
                                   ptr(MEAN), ptr(STD), self.texts[2], precision == "bf16", freeze.encode())
        if not self.handle:
            raise RuntimeError(why())
        self.adopt(self.handle)

    def adopt(self, handle):
        self.handle = handle
        self.tensors = [Tensor(self.handle, i) for i in range(lib.shim_net_tensor(self.handle, -1, None, None))]
        self.widths = [lib.net_width(self.handle, i) for i in range(len(OUTPUTS))]
        self.feature_dim, self.dim = self.widths[:PREDICTOR]
        self.plans = {}

    def plan(self, size):
        """How views of a size, (height, width), go through it."""
        if size not in self.plans:
            plan = lib.plan_new(self.handle, *size)
            if not plan:
                raise RuntimeError(why())
            self.plans[size] = plan
        return self.plans[size]

    def release_plans(self):
        for plan in getattr(self, "plans", {}).values():
            lib.plan_free(plan)

    def __del__(self):
        self.release_plans()
        if getattr(self, "handle", None):
            lib.net_free(self.handle)

    def vectors(self):
        """Room for parameters and for statistics."""
        return self.zeros(), aligned(lib.net_buffers(self.handle))

    def init(self, seed):
        params, buffers = self.vectors()
        lib.net_init(self.handle, seed, ptr(params), ptr(buffers))
        return params, buffers

    def zeros(self):
        """A vector of the parameters' layout: gradients, momentum."""
        return aligned(lib.net_params(self.handle))

    def export(self, params=None, buffers=None):
        named = {}
        for i, t in enumerate(self.tensors):
            flat = buffers if t.buffer else params
            if flat is not None:
                named[t.name] = np.full(t.shape, np.nan, np.float32)
                lib.shim_net_export(self.handle, i, ptr(flat), ptr(named[t.name]))
        return named

    def add(self, params, named):
        """Adds to the tensors that are named."""
        for i, t in enumerate(self.tensors):
            if t.name in named:
                value = np.zeros(t.shape, np.float32)
                lib.shim_net_export(self.handle, i, ptr(params), ptr(value))
                value += named[t.name]
                lib.shim_net_import(self.handle, i, ptr(value), ptr(params))

    def load(self, named):
        params, buffers = self.vectors()
        for i, t in enumerate(self.tensors):
            lib.shim_net_import(self.handle, i, ptr(np.ascontiguousarray(named[t.name])), ptr(buffers if t.buffer else params))
        return params, buffers

    def step(self, params, buffers, views, d, room=None):
        """One forward in train mode and one backward from d, the gradients of the outputs, in a pass with room for more rows than
        it gets."""
        p, grads = Pass(self, room or len(views), True), self.zeros()
        p.forward(params, buffers, views, TRAIN)
        p.backward(params, d, grads)
        return dict(p.outputs(), grads=grads)


class Pass:
    def __init__(self, net, batch, grad, size=None):
        self.net, self.handle = net, lib.pass_new(net.plan(size or net.size), batch, grad)
        if not self.handle:
            raise RuntimeError(why())

    def __del__(self):
        if getattr(self, "handle", None):
            lib.pass_free(self.handle)

    def forward(self, params, buffers, views, mode=TRAIN):
        """(feature, head), copies; head is None for a net without one. Unless mode is EVAL, buffers come to be the batch's
        statistics. views are kept for the backward pass."""
        self.views = views
        lib.pass_forward(self.handle, ptr(params), ptr(buffers), ptr(views), len(views), mode)
        return self.output(FEATURE), self.output(HEAD)

    def output(self, i):
        """A copy of what the last views gave; None where the pass has no such output."""
        address = lib.pass_output(self.handle, i)
        return floats(address, (len(self.views), self.net.widths[i])).copy() if address else None

    def outputs(self):
        """Those that it has, by name."""
        found = {name: self.output(i) for i, name in enumerate(OUTPUTS)}
        return {name: o for name, o in found.items() if o is not None}

    def masks(self, rows):
        """[(probability, by image, mask)] of every node that drops; masks are (rows, pixels, channels), in the batch's order."""
        found, facts = [], np.zeros(4)
        while (size := lib.nn_drop(self.handle, len(found), 0, ptr(facts), None)) >= 0:
            room, channels, padded = np.zeros((rows, size), np.float32), int(facts[1]), int(facts[2])
            for row in range(rows):
                lib.nn_drop(self.handle, len(found), row, ptr(facts), ptr(room[row]))
            found.append((facts[0], bool(facts[3]), room.reshape(rows, -1, padded)[:, :, :channels]))
        return found

    def backward(self, params, d, grads):
        """d: of the outputs in their order; None for one without."""
        lib.pass_backward(self.handle, ptr(params), (P * ROOM)(*map(ptr, d)), ptr(grads))


def floats(address, shape):
    """What lies there, as long as its owner keeps it."""
    return np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), shape)


class Optimiser:
    """On a flat vector that holds tensors of these shapes, those of rank 1 being norms and biases. slots: its state by name."""

    def __init__(self, spelling, shapes, clip=0.0):
        counts, ranks = np.array([np.prod(s) for s in shapes], np.int64), np.array([len(s) for s in shapes], np.int32)
        self.slots, self.count, name = {}, int(counts.sum()), c_char_p()
        self.handle = lib.shim_optim(spelling.encode(), clip, ptr(counts), ptr(ranks), len(shapes))
        if not self.handle:
            raise RuntimeError(why())
        while address := lib.shim_optim_slot(self.handle, len(self.slots), ctypes.byref(name)):
            values = ctypes.cast(address, ctypes.POINTER(ctypes.c_float))
            self.slots[name.value.decode()] = np.ctypeslib.as_array(values, (self.count,))

    def __del__(self):
        if getattr(self, "handle", None):
            lib.shim_optim_free(self.handle)

    def step(self, lr, number, w, g):
        """Moves w; the norm of g."""
        return lib.optimiser_step(self.handle, lr, number, ptr(w), ptr(g))


class Loss:
    """An asymmetric objective on q0 and k1; queue is its state, a copy taken after every step."""

    def __init__(self, spelling, rows, dim, size, seed):
        self.queue, self.count = np.zeros((size, dim), np.float32), 0
        self.handle = lib.shim_loss(spelling.encode(), rows, dim, seed, ptr(self.queue))
        if not self.handle:
            raise RuntimeError(why())

    def __del__(self):
        if getattr(self, "handle", None):
            lib.objective_free(self.handle)

    def step(self, q, k):
        """(loss, gradient for q)."""
        d_q = aligned(q.shape)
        value = lib.shim_loss_step(self.handle, self.count, ptr(q), ptr(k), ptr(d_q), ptr(self.queue))
        if value != value:
            raise RuntimeError(why())
        self.count += 1
        return value, d_q
