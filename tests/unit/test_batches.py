"""Batches of data sets made here: they depend on nothing they should not, and hold what can be read"""
import ctypes as C, io, os, shutil
import numpy as np
from PIL import Image

from sets import Batches, Set, check, files, jpeg, lib, npr, root, same, tar, write
from check import done


def orders():
    for n in (1, 2, 17, 1000):
        a, b = np.zeros(n, np.uint32), np.zeros(n, np.uint32)
        for epoch, out in ((0, a), (1, b)):
            lib.positions(C.c_int64(5), epoch, n, out.ctypes.data_as(C.c_void_p))
        check(f"an epoch of {n} is a permutation, each another", sorted(a) == list(range(n)) and (n < 17 or (a != b).any()),
              "no")


def batches():
    plain, packed = os.path.join(root, "plain"), os.path.join(root, "a.tar")
    make = lambda step, *paths, **o: tuple(Batches(*paths, **o).make(step, n)[1] for n in ("view0", "view1"))
    for recipe, size in (("moco-cifar", 32), ("byol", 48)):
        base = make(3, plain, recipe=recipe, size=size)
        for label, other in (("four threads", make(3, plain, recipe=recipe, size=size, threads=4)),
                             ("one thread", make(3, plain, recipe=recipe, size=size, threads=1)),
                             ("a cache", make(3, plain, recipe=recipe, size=size, cache=1 << 30)),
                             ("a tar", make(3, packed, recipe=recipe, size=size))):
            check(f"{recipe}: {label} changes no byte", other == base, "differs")
        listed = "\0".join(os.path.join(plain, n) for n in sorted(files, reverse=True)).encode()
        check(f"{recipe}: a list changes no byte", make(3, listed=listed, recipe=recipe, size=size) == base, "differs")
        check(f"{recipe}: the seed does", make(3, plain, recipe=recipe, size=size, seed=2) != base, "same")
    b = Batches(plain, cache=1 << 30, batch=7)
    again = [b.make(s, "view0")[1] for s in range(4)]
    check("a warm cache changes no byte", [b.make(s, "view0")[1] for s in range(4)] == again, "differs")
    whole, size = b.make(1, "view0")[1], 32 * 32 * 3
    parts = [b.make(1, "view0", p, 3) for p in range(3)]
    same("parts are rows floor(pB/n) on", [p[0] for p in parts], [2, 2, 3])
    check("parts make the whole", b"".join(d[:n * size] for n, d in parts) == whole[:7 * size], "differs")
    same("whole batches in training", (b.fact("samples"), b.fact("steps_per_epoch"), b.fact("steps")), (18, 2, 400))
    seen = np.concatenate([b.make(s, "index")[1] for s in (2, 3)])
    check("an epoch repeats no sample, and takes the split train only", len(set(seen)) == 14 and seen.max() < 18, str(seen))
    e = Batches(plain, eval=True, batch=10, recipe="mocov2", size=40, views=3)
    same("evaluation: every sample once, in order", np.concatenate([e.make(s, "index")[1] for s in range(4)]).tolist(),
         list(range(36)))
    same("evaluation: splits", np.concatenate([e.make(s, "split")[1] for s in range(4)]).tolist(), [k for _, _, k in Set(plain)])
    n, text = e.make(3, "name")
    width = max(len(f) for f in files)
    same("evaluation: names", [text[i * width:(i + 1) * width].rstrip(b"\0").decode() for i in range(n)], sorted(files)[30:])
    check("evaluation: view1 is drawn, the same each time", e.make(0, "view1") == e.make(0, "view1") != e.make(0, "view0"),
          "no")
    for name, word in (("view3", "--views"), ("q0", "no stage")):
        check(f"asked for {name}, which nobody gives", word in str(e.make(0, name)), str(e.make(0, name)))
    check("asked for split without --eval", "--eval" in str(b.make(0, "split")), "no")
    check("asked for a step behind the last", "400 steps" in str(b.make(400, "view0")), "no")
    for o, word in ((dict(batch=19), "--batch 18"), (dict(split="tset"), "tset"),
                    (dict(split="val"), "folders are the split test"), (dict(recipe="moko"), "mocov2"),
                    (dict(recipe="mocov2:gray=1"), "grey")):
        check(f"options {o}: an error that helps", word in (Batches(plain, **o).why or ""), str(Batches(plain, **o).why))
    check("only a test split: training takes it", Batches(plain + "/val").p, "no")


def mixed():
    """All formats, half of them with an orientation: the same bytes from folder, tar, list; by any threads; with and without
    the cache."""
    tag, kinds = Image.Exif(), ("JPEG", "PNG", "WEBP")
    tag[0x0112] = 8
    members = {f"{'ab'[i % 2]}/{i:02d}.{kinds[i % 3].lower()}":
               jpeg(40 + i, 70 - i, kinds[i % 3], **({"exif": tag} if i % 4 < 2 else {})) for i in range(24)}
    folder, packed = write("mixed", members), tar("mixed.tar", members)
    listed = "\0".join(os.path.join(folder, n) for n in members).encode()
    for exif in (False, True):
        make = lambda *paths, **o: [Batches(*paths, exif=exif, recipe="mocov2", size=24, **o).make(s, n)[1] for s in (0, 3, 4)
                                    for n in ("view0", "view1")]
        base = make(folder)
        others = {"a tar": make(packed), "a list": make(listed=listed), "a cache": make(packed, cache=1 << 30),
                  "one thread": make(folder, threads=1), "five threads": make(folder, threads=5)}
        same(f"mixed formats, exif {exif}: what changes a byte", [k for k, v in others.items() if v != base], [])
        b = Batches(folder, exif=exif, recipe="mocov2", size=24, cache=1 << 30)
        same(f"mixed formats, exif {exif}: a warm cache",
             [[b.make(s, n)[1] for s in (0, 3, 4) for n in ("view0", "view1")] for _ in range(2)], [base, base])
        kept = base if not exif else kept
    check("mixed formats: --exif does change them", base != kept, "same")


def encode(mode, format="JPEG"):
    f = io.BytesIO()
    Image.fromarray(npr.randint(0, 256, (30, 30, 3)).astype(np.uint8)).convert(mode).save(f, format)
    return f.getvalue()


def damaged():
    good, photo = jpeg(60, 50), jpeg(200, 150, quality=90)
    bomb = bytearray(good)
    at = good.index(b"\xff\xc0") + 5
    bomb[at:at + 4] = b"\xff\xdc\xff\xdc"
    scans = jpeg(16, 16, progressive=True)
    sos = scans.rindex(b"\xff\xda")
    bad = {"truncated.jpg": photo[:len(photo) // 2], "empty.jpg": b"", "text.jpg": b"this is no picture\n",
           "bomb.jpg": bytes(bomb), "header.jpg": photo[:30],
           "scans.jpg": scans[:-2] + scans[sos:-2] * 600 + b"\xff\xd9", "half.png": jpeg(50, 50, "PNG")[:3000],
           "zip.jpg": b"PK\x03\x04" + bytes(100)}
    fine = {"misnamed.JPEG": jpeg(20, 20, "PNG"), "misnamed.png": jpeg(20, 20), "one.png": jpeg(1, 1, "PNG"),
            "one.jpg": jpeg(1, 1),
            "grey.jpg": encode("L"), "cmyk.jpg": encode("CMYK"), "palette.png": encode("P", "PNG")}
    folder = write("damaged", {f"c/{n}": d for n, d in {**bad, **fine}.items()})
    s = Set(folder)
    result = {n[2:]: s.pixels(i) for i, (n, _, _) in enumerate(s)}
    same("damaged files fail, each with a cause", sorted(n for n, r in result.items() if isinstance(r, str) and len(r) > 8),
         sorted(bad))
    same("odd files are read", sorted(n for n, r in result.items() if not isinstance(r, str)), sorted(fine))
    b = Batches(folder, batch=12, size=32)
    names = [n[2:] for n, _, _ in s]
    used = {names[i] for step in range(20) for i in b.make(step, "index")[1]}
    same("training: others stand in for bad samples", used, set(fine))
    same("training: each is counted once", b.fact("bad"), len(bad))
    first = [Batches(folder, batch=12, threads=t).make(4, "view0") for t in (1, 4)]
    check("training: who stands in does not depend on threads", first[0] == first[1], "differs")
    e = Batches(folder, batch=8, eval=True, recipe="mocov2", size=32)
    same("evaluation: bad samples are left out", sorted(names[i] for step in range(2) for i in e.make(step, "index")[1]),
         sorted(fine))
    check("a handful may be bad, whatever their share",
          isinstance(Batches(folder, batch=12, max_bad=0.01).make(0, "view0"), tuple), "an error")
    os.remove(folder + "/c/palette.png")
    write("damaged", {"c/ninth.jpg": b""})
    for share, error in ((0.5, True), (9 / 15, False), (0, True)):
        got = Batches(folder, batch=12, max_bad=share).make(0, "view0")
        check(f"nine of fifteen bad, --max-bad {share:g}: {'an error' if error else 'goes on'}",
              error == ("--max-bad" in str(got)), f"{str(got):.80}")


try:
    write("plain", files)
    tar("a.tar", files)
    for part in (orders, batches, mixed, damaged):
        part()
finally:
    shutil.rmtree(root)
done()
