"""lib/image gives the same bytes on every instruction set that this machine has: each is forced in turn (SPRAT_ISA), in a
process of its own that prints a fingerprint of what every operation makes of pictures at awkward sizes."""
import ctypes as C, hashlib, os, random, subprocess, sys
import numpy as np

SETS = ("base", "avx2", "avx512")
SIZES = [(1, 1), (2, 5), (7, 3), (15, 16), (16, 17), (31, 33), (33, 70), (65, 40), (224, 224), (230, 301)]


def library():
    lib = C.CDLL(os.path.join(os.environ.get("B", "build/release"), "libparity.so"))
    lib.why.restype = C.c_char_p
    return lib


def pointer(a):
    return a.ctypes.data_as(C.POINTER(C.c_uint8))


def colours(lib, pictures, op):
    for a in pictures:
        for f in (-0.5, -0.1, 0.0, 0.3) if op == 3 else (0.0, 0.4, 1.0, 1.37, 2.0, 11.0):
            b = a.copy()
            lib.image_colour(op, C.c_float(f), pointer(b), b.shape[1], b.shape[0])
            yield b


def blurs(lib, pictures):
    for a in pictures:
        for sigma in (0.1, 1.0, 1.42, 2.0, 3.0, 25.0):
            b = a.copy()
            lib.image_blur(C.c_float(sigma), pointer(b), b.shape[1], b.shape[0])
            yield b


def resizes(lib, pictures):
    rnd = random.Random(5)
    for a in pictures:
        h, w = a.shape[:2]
        for out_w, out_h in [(32, 32), (224, 224), (1, 1), (w, 9), (9, h), (w // 3 + 1, h // 5 + 1), (w // 9 + 1, 2 * h)]:
            x, y = rnd.randrange(out_w), rnd.randrange(out_h)
            part = (x, y, rnd.randint(1, out_w - x), rnd.randint(1, out_h - y))
            for bicubic in (0, 1):
                out = np.zeros((part[3], part[2], 3), np.uint8)
                lib.image_resample(pointer(a), w, h, (C.c_int * 4)(0, 0, w, h), bicubic, out_w, out_h, (C.c_int * 4)(*part),
                                   pointer(out))
                yield out


OPERATIONS = {**{name: (lambda lib, p, op=op: colours(lib, p, op)) for op, name in enumerate(
    ("brightness", "contrast", "saturation", "hue", "grey", "solarise", "flip"))}, "blur": blurs, "resize": resizes}


def fingerprints():
    lib, npr = library(), np.random.RandomState(3)
    if lib.isa_init() < 0:
        return print(lib.why().decode())
    print("ok")
    for name, make in OPERATIONS.items():
        pictures = [npr.randint(0, 256, (h, w, 3)).astype(np.uint8) for w, h in SIZES]
        digest = hashlib.sha256()
        for out in make(lib, pictures):
            digest.update(out.tobytes())
        print(name, digest.hexdigest())


def run(isa):
    """Why it refused, or "ok", and what it printed, by operation."""
    out = subprocess.run([sys.executable, __file__, "--print"], env={**os.environ, "SPRAT_ISA": isa}, stdout=subprocess.PIPE,
                         check=True)
    said, *rows = out.stdout.decode().splitlines()
    return said, dict(row.split() for row in rows)


def main():
    failed, (_, want) = False, run(SETS[0])
    for isa in SETS[1:]:
        said, got = run(isa)
        if said != "ok":
            print(f"skip - {isa}: {said}")
            continue
        wrong = [name for name in want if got[name] != want[name]]
        failed |= bool(wrong)
        print(f"not ok - {isa}: {', '.join(wrong)} differ from {SETS[0]}" if wrong
              else f"ok - {isa} gives the bytes of {SETS[0]}: {', '.join(want)}")
    return failed


sys.exit(fingerprints() if "--print" in sys.argv else main())
