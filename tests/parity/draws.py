"""draws.py - what lib/image draws for a view, through tests/parity/shim_image.c"""
import ctypes as C, os

lib = C.CDLL(os.path.join(os.environ.get("B", "build/release"), "libparity.so"))
lib.why.restype = C.c_char_p


class Draw(C.Structure):
    _fields_ = [("crop", C.c_int * 4), ("out", C.c_int * 2), ("part", C.c_int * 4), ("bicubic", C.c_bool), ("jitter", C.c_bool),
                ("grey", C.c_bool), ("solarise", C.c_bool), ("flip", C.c_bool), ("order", C.c_int * 4), ("factor", C.c_float * 4),
                ("sigma", C.c_float),
                ("cells", C.c_int), ("hidden", C.c_uint64 * 4), ("fill", C.c_uint8 * 3),
                ("pairing", C.c_int), ("iou", C.c_float), ("shared", C.c_int * 4), ("cut", C.c_int * 4),
                ("share", C.c_float), ("member", C.c_int)]


def draw(recipe, size, view, w, h, seed=0, epoch=0, sample=0):
    d = Draw()
    if lib.image_draw(recipe.encode(), size, C.c_int64(seed), epoch, sample, view, w, h, C.byref(d)) < 0:
        raise SystemExit(lib.why().decode())
    return d
