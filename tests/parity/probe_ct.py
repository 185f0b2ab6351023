"""probe_ct - a probe through ctypes, on samples of a test's making

    s = Samples([x], label, split)
    code, line = probe("knn:k=20", s)
"""
import ctypes
import json

import numpy as np

from sprat_ct import lib, ptr

lib.shim_probe.argtypes = ([ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
                           + [ctypes.c_void_p] * 4 + [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t])
lib.rng_permute.restype = ctypes.c_uint32
lib.rng_permute.argtypes = [ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint32]
RNG_PROBE = 9


def permuted(n):
    return np.array([lib.rng_permute(0, 0, RNG_PROBE, n, i) for i in range(n)])


class Samples:
    """Views of samples with label, split, index and name."""

    def __init__(self, views, label, split, names=False):
        self.x = [np.ascontiguousarray(v, np.float32) for v in views]
        self.label, self.split = np.ascontiguousarray(label, np.int32), np.ascontiguousarray(split, np.int32)
        self.index = np.arange(len(label), dtype=np.int64) * 3
        self.name = np.array([f"{l}/image {i}.png" for i, l in enumerate(label)], "S24") if names else None
        self.classes = int(self.label.max()) + 1

    def part(self, split, view=0):
        return self.x[view][self.split == split], self.label[self.split == split]


def probe(spelling, s, threads=2, on="feature"):
    """(exit code, the line's object)."""
    out = ctypes.create_string_buffer(4096)
    views = (ctypes.c_void_p * len(s.x))(*[v.ctypes.data for v in s.x])
    code = lib.shim_probe(spelling.encode(), on.encode(), views, len(s.x), len(s.label), s.x[0].shape[1], ptr(s.label),
                          ptr(s.split),
                          ptr(s.index), ptr(s.name), 24 if s.name is not None else 0, threads, out, len(out))
    return code, json.loads(out.value) if code == 0 else {}
