"""sprat_ct - what a parity test in Python needs: the library through ctypes, aligned arrays, named checks, safetensors in numpy

    from sprat_ct import lib, check, done, ptr
    check("sum of two", lib.shim_sum(ptr(x), 2) == 3, "got something else")
    done()

The library is $B/libparity.so (default build/release). A sanitised one is loaded by running the script again with the sanitiser
preloaded. Restypes other than int are declared where they are used. Import this before torch: threads that wait then sleep.
"""
import ctypes
import json
import os
import subprocess
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from check import check, done, skip  # noqa: E402,F401

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def _load():
    path = os.path.join(os.environ.get("B", os.path.join(ROOT, "build/release")), "libparity.so")
    if "-san" in path.split("/")[-2] and "LD_PRELOAD" not in os.environ:
        runtime = subprocess.check_output(["gcc", "-print-file-name=libasan.so"], text=True).strip()
        environment = dict(os.environ, LD_PRELOAD=runtime, ASAN_OPTIONS="detect_leaks=0")
        os.execve(sys.executable, [sys.executable] + sys.argv, environment)
    return ctypes.CDLL(path)


lib = _load()
lib.why.restype = ctypes.c_char_p
lib.backend_find.restype = ctypes.c_void_p
BACKENDS = tuple(b for b in ("blas", "onednn") if lib.backend_find(b.encode()))   # those of this build


def why():
    """The sentence that the library kept last."""
    return lib.why().decode()


# --- arrays ---

def aligned(shape, dtype=np.float32):
    """Zeros at a 64-byte boundary, as xaligned() gives them."""
    count = int(np.prod(shape))
    raw = np.zeros(count * np.dtype(dtype).itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start:start + count * np.dtype(dtype).itemsize].view(dtype).reshape(shape)


def ptr(array):
    """The address of a C-ordered array; None stays NULL."""
    if array is None:
        return None
    assert array.flags.c_contiguous
    return ctypes.c_void_p(array.ctypes.data)


def relative(ours, reference, floor=0.0):
    """||ours - reference|| / max(||reference||, floor), in float64. NaN or a wrong shape is infinitely wrong."""
    ours, reference = np.asarray(ours, np.float64), np.asarray(reference, np.float64)
    if ours.shape != reference.shape or not np.isfinite(ours).all():
        return float("inf")
    difference = np.linalg.norm(ours - reference)
    return 0.0 if difference == 0 else float(difference / max(np.linalg.norm(reference), floor, 1e-300))


# --- safetensors, written from the format's own description (u64 header size, JSON header, data) ---

_TYPES = {"U8": np.uint8, "I32": np.int32, "I64": np.int64, "F32": np.float32, "F16": np.float16, "F64": np.float64,
          "BF16": np.uint16}


def safetensors_read(path):
    """({name: array}, {metadata}); BF16 comes as its raw 16 bits."""
    raw = open(path, "rb").read()
    size = int.from_bytes(raw[:8], "little")
    header, data = json.loads(raw[8:8 + size]), raw[8 + size:]
    meta = header.pop("__metadata__", {})
    spans = {n: e["data_offsets"] for n, e in header.items()}
    tensors = {n: np.frombuffer(data[a:b], _TYPES[header[n]["dtype"]]).reshape(header[n]["shape"]) for n, (a, b) in spans.items()}
    return tensors, meta


def safetensors_write(path, tensors, meta=None):
    header, at = {"__metadata__": meta} if meta else {}, 0
    for name, array in tensors.items():
        code = next(c for c, t in _TYPES.items() if t == array.dtype)
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        f.writelines(array.tobytes() for array in tensors.values())
