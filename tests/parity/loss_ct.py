"""loss_ct - lib/loss's objectives from Python

    o = Objective("moco:t=0.2,k=64", rows=16, dim=32)
    o.step(inputs(rng, o), 0); o["loss"], o.gradients()["q0"], o.state()["loss.queue"]
"""
import ctypes

import numpy as np

from sprat_ct import lib, why

P, TYPES = ctypes.c_void_p, {4: np.float32, 8: np.int64}
for name, restype, argtypes in (
        ("new", P, [ctypes.c_char_p, ctypes.c_int, P, ctypes.c_uint64, ctypes.c_int]), ("free", None, [P]),
        ("step", ctypes.c_int, [P, ctypes.c_int64, ctypes.POINTER(P)]), ("scalar", ctypes.c_double, [P, ctypes.c_char_p]),
        ("expected", ctypes.c_double, [P]), ("gradient", P, [P, ctypes.c_int]), ("states", ctypes.c_int, [P]),
        ("state", P, [P, ctypes.c_int]), ("copy_state", ctypes.c_int, [P, P]), ("name", ctypes.c_char_p, [ctypes.c_int]),
        ("count", ctypes.c_int, []), ("needs", ctypes.c_int, [ctypes.c_char_p, ctypes.c_char_p])):
    function = getattr(lib, f"shim_objective_{name}")
    function.restype, function.argtypes = restype, argtypes
lib.shim_tensor_data.restype, lib.shim_tensor_data.argtypes = P, [P]
lib.shim_tensor_bytes.restype, lib.shim_tensor_bytes.argtypes = ctypes.c_int64, [P]
lib.shim_tensor_width.restype, lib.shim_tensor_width.argtypes = ctypes.c_int64, [P]
lib.shim_tensor_name.restype, lib.shim_tensor_name.argtypes = ctypes.c_char_p, [P]


def needs_of(spelling):
    """Names of a loss's inputs, in its order."""
    text = ctypes.create_string_buffer(512)
    return text.value.decode().split() if lib.shim_objective_needs(spelling.encode(), text) >= 0 else []


LR, IMAGES = 0.05, 5000   # of every step, of the data set: shim_loss.c


class Objective:
    """One loss at work. widths: of inputs that are not dim wide, by the name without its number; 0: labels, -1: shares."""

    def __init__(self, spelling, rows, dim, seed=1, threads=2, widths=None):
        self.needs, self.rows, self.dim = needs_of(spelling), rows, dim
        others = {"label": 0, "mix": -1, **(widths or {})}
        self.widths = [others.get(n.rstrip("0123456789"), dim) for n in self.needs]
        self.handle = lib.shim_objective_new(spelling.encode(), rows, np.array(self.widths, np.int32).ctypes.data, seed, threads)

    def step(self, inputs, step=0):
        """inputs in the order of needs."""
        pointers = (P * len(inputs))(*[x.ctypes.data for x in inputs])
        return lib.shim_objective_step(self.handle, step, pointers)

    def __getitem__(self, name):
        return lib.shim_objective_scalar(self.handle, name.encode())

    def gradient(self, i):
        at = lib.shim_objective_gradient(self.handle, i)
        if not at:
            return None
        return np.ctypeslib.as_array(ctypes.cast(at, ctypes.POINTER(ctypes.c_float)), (self.rows, self.widths[i])).copy()

    def gradients(self):
        """Of those that are trained, by name."""
        return {n: g for i, n in enumerate(self.needs) if (g := self.gradient(i)) is not None}

    def state(self):
        out = {}
        for i in range(lib.shim_objective_states(self.handle)):
            t = lib.shim_objective_state(self.handle, i)
            out[lib.shim_tensor_name(t).decode()] = ctypes.string_at(lib.shim_tensor_data(t), lib.shim_tensor_bytes(t))
        return out

    def state_width(self, name):
        """Of the rows of a tensor of state."""
        states = [lib.shim_objective_state(self.handle, i) for i in range(lib.shim_objective_states(self.handle))]
        return next(lib.shim_tensor_width(t) for t in states if lib.shim_tensor_name(t).decode() == name)

    def queue(self):
        return np.frombuffer(self.state()["loss.queue"], np.float32).reshape(-1, self.dim).copy()

    def bytes(self):
        """Everything a step leaves behind."""
        slopes = b"".join(g.tobytes() for g in self.gradients().values())
        return b"".join(self.state().values()) + slopes + np.float64(self["loss"]).tobytes()

    def __del__(self):
        lib.shim_objective_free(self.handle)


def made(spelling, *args, **more):
    """An objective, or an exception with the library's sentence."""
    o = Objective(spelling, *args, **more)
    if not o.handle:
        raise RuntimeError(why())
    return o


def inputs(rng, o, likeness=0.5, classes=5):
    """Rows of different lengths; the inputs of one row point roughly the same way where they are as wide. One label in eight is
    unknown."""
    common, out = {}, []
    for width in o.widths:
        if width == 0:
            out.append(np.where(rng.random(o.rows) < 0.125, -1, rng.integers(0, classes, o.rows)).astype(np.int32))
            continue
        if width < 0:
            out.append(rng.random(o.rows).astype(np.float32))
            continue
        shared = common.setdefault(width, rng.standard_normal((o.rows, width)))
        x = (likeness * shared + rng.standard_normal((o.rows, width))) * rng.uniform(0.2, 5, (o.rows, 1))
        out.append(np.ascontiguousarray(x, np.float32))
    return out
