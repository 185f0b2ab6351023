"""sets.py - data sets made of pictures made here, and batches of them, by lib/image through tests/parity/shim_dataset.c"""
import ctypes as C, fcntl, io, os, random, sys, tarfile, tempfile
import numpy as np
from PIL import Image

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from check import check

lib = C.CDLL(os.path.join(os.environ.get("B", "build/release"), "libparity.so"))
for f, restype in (("why", C.c_char_p), ("set_choose", C.c_void_p), ("set_class", C.c_char_p), ("set_text", C.c_char_p),
                   ("dataset_name", C.c_char_p),
                   ("batches_text", C.c_char_p),
                   ("batches_new", C.c_void_p), ("batches_fact", C.c_int64), ("batches_make", C.c_int64)):
    getattr(lib, f).restype = restype
C.c_int.in_dll(lib, "verbosity").value = -1
root = tempfile.mkdtemp()
rnd = random.Random(3)
npr = np.random.RandomState(3)


def same(name, got, want):
    check(name, got == want, f"got {got!r:.300}, want {want!r:.300}")


def stdin(data):
    """Makes data what stdin holds: a pipe, so that nothing can be read twice."""
    r, w = os.pipe()
    fcntl.fcntl(w, fcntl.F_SETPIPE_SZ, 1 << 20)
    os.write(w, data)
    os.close(w)
    os.dup2(r, 0)
    os.close(r)


class Set:
    def __init__(self, *paths, holdout="", labels="", listed=None):
        """listed: what stdin holds, in place of paths."""
        if listed is not None:
            paths = ("-",)
            stdin(listed)
        self.p = lib.set_choose("\n".join(paths).encode(), listed is not None, str(labels).encode(), str(holdout).encode())
        self.why = None if self.p else lib.why().decode()

    def __iter__(self):
        out, i = (C.c_int * 3)(), 0
        while lib.set_sample(C.c_void_p(self.p), i, out) == 0:
            yield lib.dataset_name(C.c_void_p(self.p), i).decode(), out[0], out[1]
            i += 1

    def classes(self):
        i = iter(range(1 << 20))
        return [c.decode() for c in iter(lambda: lib.set_class(C.c_void_p(self.p), next(i)), None)]

    def text(self, which=0):
        return lib.set_text(C.c_void_p(self.p), which).decode()

    def pixels(self, i):
        wh, out = (C.c_int * 2)(), np.zeros(300 * 300 * 3, np.uint8)
        if lib.set_pixels(C.c_void_p(self.p), i, wh, out.ctypes.data_as(C.c_void_p)) < 0:
            return lib.why().decode()
        return out[:wh[0] * wh[1] * 3].reshape(wh[1], wh[0], 3)


class Batches:
    def __init__(self, *paths, holdout="", labels="", listed=None, recipe="moco-cifar", crops="", mix="", bags="", size=0,
                 views=0, batch=8, seed=1, eval=False, exif=False, fast=False, cache=0, split="", max_bad=1.0, threads=2):
        s = Set(*paths, holdout=holdout, labels=labels, listed=listed)
        o = (C.c_int64 * 8)(size, views, batch, seed, int(eval), cache, int(exif), int(fast))
        self.p = s.p and lib.batches_new(C.c_void_p(s.p), recipe.encode(), crops.encode(), mix.encode(), str(bags).encode(), o,
                                         split.encode(), C.c_double(max_bad), threads)
        self.why = None if self.p else lib.why().decode()
        self.batch = batch

    def fact(self, name):
        return lib.batches_fact(C.c_void_p(self.p), name.encode())

    def text(self, name):
        return lib.batches_text(C.c_void_p(self.p), name.encode()).decode()

    def make(self, step, name, part=0, parts=1):
        kind, each = {"index": ("<i8", 1), "label": ("<i4", 1), "split": ("<i4", 1), "mix": ("<f4", 1)}.get(name, ("u1", 1 << 16))
        out = np.zeros((self.batch * each,), kind)
        n = lib.batches_make(C.c_void_p(self.p), C.c_int64(step), part, parts, name.encode(), out.ctypes.data_as(C.c_void_p),
                             C.c_size_t(out.nbytes))
        return lib.why().decode() if n < 0 else (n, out[:n] if each == 1 else out.tobytes())


def jpeg(w=40, h=30, format="JPEG", **how):
    f = io.BytesIO()
    Image.fromarray(npr.randint(0, 256, (h, w, 3)).astype(np.uint8)).resize((w, h)).save(f, format, **how)
    return f.getvalue()


def write(folder, files):
    for name, data in files.items():
        path = os.path.join(root, folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(data)
    return os.path.join(root, folder)


def tar(name, files, prefix="", format=tarfile.USTAR_FORMAT):
    path = os.path.join(root, name)
    with tarfile.open(path, "w", format=format) as t:
        for n, data in files.items():
            i = tarfile.TarInfo(prefix + n)
            i.size = len(data)
            t.addfile(i, io.BytesIO(data))
    return path


files = {f"{split}/{c}/{i:02d}.jpg": jpeg(32 + i, 30 + i) for split in ("train", "val") for c in ("dog", "cat", "eel")
         for i in range(6)}
