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
    for name, word in (("view3", "--views"), ("q0", "encode --head"), ("other", "no stage")):
        check(f"asked for {name}, which nobody gives", word in str(e.make(0, name)), str(e.make(0, name)))
    check("asked for split without --eval", "--eval" in str(b.make(0, "split")), "no")
    check("asked for a step behind the last", "400 steps" in str(b.make(400, "view0")), "no")
    for o, word in ((dict(batch=19), "--batch 18"), (dict(split="tset"), "tset"),
                    (dict(split="val"), "folders are the split test"), (dict(recipe="moko"), "mocov2"),
                    (dict(recipe="mocov2:gray=1"), "grey")):
        check(f"options {o}: an error that helps", word in (Batches(plain, **o).why or ""), str(Batches(plain, **o).why))
    check("only a test split: training takes it", Batches(plain + "/val").p, "no")


def several_sizes():
    """Crops: what they change, and what changes them."""
    plain, base = os.path.join(root, "plain"), dict(recipe="mocov2", size=40, crops="4x16:blur=0")
    sides = [40, 40, 16, 16, 16, 16]
    make = lambda *paths, **o: [Batches(*paths, **{**base, **o}).make(s, f"view{v}") for s in (0, 3) for v in range(6)]
    usual = make(plain)
    same("crops: rows in training", {n for n, _ in usual}, {8})
    others = {"four threads": make(plain, threads=4), "one thread": make(plain, threads=1),
              "a tar": make(os.path.join(root, "a.tar")), "a cache": make(plain, cache=1 << 30)}
    same("crops: what changes a byte", [k for k, v in others.items() if v != usual], [])
    changes = {"seed": dict(seed=2), "scale": dict(crops="4x16:blur=0,scale=.5"), "blur": dict(crops="4x16:blur=1")}
    same("crops: what should change them but does not",
         [k for k, o in changes.items() if any(a == b for a, b in zip(make(plain, **o)[2:6], usual[2:6]))], [])
    alone = [Batches(plain, recipe="mocov2", size=40).make(s, n) for s in (0, 3) for n in ("view0", "view1")]
    same("the views of full size are the same without crops", [alone[:2], alone[2:]], [usual[:2], usual[6:8]])
    b = Batches(plain, **base)
    bytes_of = lambda v, p, parts: (lambda n, d: d[:n * sides[v] * sides[v] * 3])(*b.make(3, f"view{v}", p, parts))
    same("crops: parts make the whole",
         [v for v in range(6) if b"".join(bytes_of(v, p, 3) for p in range(3)) != bytes_of(v, 0, 1)], [])
    crops = [bytes_of(v, 0, 1)[:8 * 16 * 16 * 3] for v in range(2, 6)]
    same("no two crops are alike", len(set(crops)), 4)
    same("all views are counted", (b.fact("views"), Batches(plain, views=5, crops="11x8").fact("views")), (6, 16))
    check("no more views than there are", "6 views" in str(b.make(0, "view6")), str(b.make(0, "view6")))


def crops_spelled():
    plain = os.path.join(root, "plain")
    spelled = lambda crops="", recipe="mocov2": Batches(plain, recipe=recipe, crops=crops).text("crops")
    rest = "jitter=0.8,brightness=0.4,contrast=0.4,saturation=0.4,hue=0.1,grey=0.2,blur={},solarise=0,flip=0.5,bicubic=0"
    same("crops: their law is spelled out", spelled("6x96:blur=.25"), "6x96:scale=0.05-0.14," + rest.format(0.25))
    same("crops: alike ones are spelled alike",
         {spelled(c) for c in ("6x96", "06x096:", "6x96:scale=.05-.14", "6x96:scale=5e-2-.14")},
         {"6x96:scale=0.05-0.14," + rest.format(0.5)})
    same("crops: spelled, they are the same again", spelled(spelled("3x8:scale=.3,hue=0")), spelled("3x8:scale=.3,hue=0"))
    same("no crops: nothing is spelled", spelled(), "")
    same("a recipe is spelled as ever",
         {Batches(plain, recipe=f"mocov2:scale={s}").text("recipe") for s in ("0.2", ".2-1", "2e-1")},
         {"mocov2:scale=0.2," + rest.format(0.5)})
    same("crops: they change what the recipe was changed to", spelled("2x8:scale=1", "mocov2:blur=0.1"), "2x8:scale=1," +
         rest.format(0.1))
    for crops, recipe, evaluates, word in (
            ("6by96", "mocov2", False, "try 6x96"), ("96", "mocov2", False, "try 6x96"), ("0x96", "mocov2", False, "try 6x96"),
            ("-1x96", "mocov2", False, "try 6x96"), ("6x0", "mocov2", False, "try 6x96"), ("6x4097", "mocov2", False, "try 6x96"),
            ("6x96,scale=.1", "mocov2", False, "try 6x96"), ("6x96:" + "hue=0," * 60, "mocov2", False, "try 6x96"),
            ("15x96", "mocov2", False, "16 together"), ("9999999999999x96", "mocov2", False, "16 together"),
            ("6x96:size=3", "mocov2", False, "it has scale"), ("6x96:scale", "mocov2", False, "needs a value"),
            ("6x96:scale=.5-.2", "mocov2", False, "rising"), ("6x96:scale=0-1", "mocov2", False, "rising"),
            ("6x96:scale=2-3", "mocov2", False, "rising"), ("6x96:scale=small", "mocov2", False, "rising"),
            ("6x96", "eval", False, "--recipe"), ("6x96", "mocov2", True, "--eval")):
        got = Batches(plain, crops=crops, recipe=recipe, eval=evaluates).why or ""
        check(f"crops {crops:.20} of {recipe}{' in an evaluation' * evaluates}: an error that helps",
              word in got and "\n" not in got, got)


def coarse():
    """--fast decodes as the view that needs most needs it."""
    folder = write("large", {f"c/{i}.jpg": jpeg(400, 300, quality=90) for i in range(8)})
    def decoded(**o):
        wh = (C.c_int * 2)()
        lib.maker_draws(C.c_void_p(Batches(folder, recipe="mocov2", fast=True, **o).p), 0, 0, (C.c_char * 16384)(), wh)
        return tuple(wh)
    same("--fast: decoded at 1/8 for 8 pixels, at 1/2 for crops of 30, whole for those of 96",
         [decoded(size=8), decoded(size=8, crops="2x30"), decoded(size=8, crops="2x96")], [(50, 38), (200, 150), (400, 300)])


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
    for part in (orders, batches, several_sizes, crops_spelled, coarse, mixed, damaged):
        part()
finally:
    shutil.rmtree(root)
done()
