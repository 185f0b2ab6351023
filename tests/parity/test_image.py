"""lib/image against Pillow 9.4 and torchvision 0.14: every operation byte for byte. FULL=1: on all 200 photos, thousands of draws
for each operation."""
import ctypes as C, io, os, random, sys, tarfile
import numpy as np
from PIL import Image, ImageFilter
import torchvision.transforms.functional as F

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from check import check, done, skip
from draws import draw, lib
from pillow_view import apply_in_pillow


def pointer(a):
    return a.ctypes.data_as(C.POINTER(C.c_uint8))


def decode(data, box=None):
    wh = (C.c_int * 2)()
    if lib.image_size(data, C.c_size_t(len(data)), wh) < 0:
        return None
    x, y, w, h = box or (0, 0, wh[0], wh[1])
    out = np.zeros((h, w, 3), np.uint8)
    return out if lib.image_decode(data, C.c_size_t(len(data)), x, y, w, h, pointer(out)) == 0 else None


def decode_fast(data, least, box=None):
    """Coarsely, and reduced as far as the short side keeps least pixels."""
    wh = (C.c_int * 2)()
    if lib.image_decode_fast(data, C.c_size_t(len(data)), least, None, wh, None) < 0:
        return None
    x, y, w, h = box or (0, 0, wh[0], wh[1])
    out = np.zeros((h, w, 3), np.uint8)
    return out if lib.image_decode_fast(data, C.c_size_t(len(data)), least, (C.c_int * 4)(x, y, w, h), wh,
                                        pointer(out)) == 0 else None


def pil(data):
    try:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except Exception:
        return None


def resample(a, box, bicubic, size, part):
    out = np.zeros((part[3], part[2], 3), np.uint8)
    i4 = C.c_int * 4
    lib.image_resample(pointer(a), a.shape[1], a.shape[0], i4(*box), int(bicubic), size[0], size[1], i4(*part), pointer(out))
    return out


def colour(op, f, a):
    a = a.copy()
    lib.image_colour(op, C.c_float(f), pointer(a), a.shape[1], a.shape[0])
    return a


def blur(sigma, a):
    a = a.copy()
    lib.image_blur(C.c_float(sigma), pointer(a), a.shape[1], a.shape[0])
    return a


def difference(ours, theirs):
    if ours is None or theirs is None:
        return "" if ours is None and theirs is None else f"ours {'fails' if ours is None else 'works'}, theirs not"
    if ours.shape != theirs.shape:
        return f"shape {ours.shape}, not {theirs.shape}"
    d = np.abs(ours.astype(int) - theirs.astype(int))
    return f"{(d.max(axis=-1) > 0).mean():.4%} of the pixels differ, by up to {d.max()}" if d.any() else ""


def worse(why):
    """Sorts what difference() says: everything that is not a share of pixels is worst."""
    return float(why.split("%")[0]) if "%" in why else 1e9 if why else -1


def compare(name, cases):
    """cases: (label, ours, theirs); prints one line, with the worst picture if any differs."""
    n, worst, where = 0, "", ""
    for label, ours, theirs in cases:
        n += 1
        why = difference(ours, theirs)
        if worse(why) > worse(worst):
            worst, where = why, label
    check(f"{name} ({n} cases)", n and not worst, f"{where}: {worst}" if n else "no case")


rnd = random.Random(1)
npr = np.random.RandomState(1)


def synthetic(w, h):
    """Smooth colours, an edge and noise: every branch of the arithmetic is met."""
    y, x = np.mgrid[0:h, 0:w]
    a = np.stack([128 + 127 * np.sin(x / 7 + y / 13), 255 * x / max(w - 1, 1), 128 + 127 * np.cos(x * y / 500)], -1)
    a[h // 2:, w // 2:] = npr.randint(0, 256, 3)
    a += npr.randint(-20, 21, a.shape)
    return np.ascontiguousarray(a.clip(0, 255).astype(np.uint8))


def photos(limit, part=""):
    """Some of those whose names hold part."""
    tar = os.path.join(os.environ.get("DATA") or "", "imagenet-sample-200.tar")
    if not os.path.exists(tar):
        return []
    with tarfile.open(tar) as t:
        members = [m for m in t.getmembers() if m.isfile() and part in m.name]
        return [(m.name, t.extractfile(m).read()) for m in rnd.sample(members, min(limit, len(members)))]


def encode(image, **how):
    f = io.BytesIO()
    image.save(f, how.pop("format", "JPEG"), **how)
    return f.getvalue()


def made_jpegs():
    """Every kind that Pillow can write, at sizes around the 8- and 16-pixel blocks."""
    for w, h in [(1, 1), (1, 17), (17, 1), (7, 9), (8, 8), (16, 16), (31, 33), (64, 48), (97, 101), (2, 300), (300, 2),
                 (150, 200)]:
        rgb = Image.fromarray(synthetic(w, h))
        for subsampling in (0, 1, 2):
            for progressive in (False, True):
                yield f"{w}x{h} subsampling {subsampling} progressive {progressive}", encode(
                    rgb, subsampling=subsampling, progressive=progressive, quality=rnd.choice([30, 75, 95]))
        yield f"{w}x{h} grey", encode(rgb.convert("L"))
        yield f"{w}x{h} CMYK", encode(rgb.convert("CMYK"), quality=90)
        yield f"{w}x{h} restart markers", encode(rgb, quality=80, restart_marker_blocks=2)


def made_pngs():
    for w, h in [(1, 1), (5, 3), (40, 31), (64, 64)]:
        a = synthetic(w, h)
        rgb = Image.fromarray(a)
        alpha = rgb.convert("RGBA")
        alpha.putalpha(Image.fromarray(npr.randint(0, 256, (h, w)).astype(np.uint8)))
        for mode in ("RGB", "L", "P", "1"):
            yield f"{w}x{h} {mode}", encode(rgb.convert(mode), format="PNG")
        yield f"{w}x{h} RGBA", encode(alpha, format="PNG")
        yield f"{w}x{h} LA", encode(alpha.convert("LA"), format="PNG")
        for bits in (1, 2, 4):
            yield f"{w}x{h} palette of {bits} bits", encode(rgb.quantize(2 ** bits), format="PNG", bits=bits)
        yield f"{w}x{h} palette and transparency", encode(rgb.quantize(16), format="PNG", transparency=3)
        yield f"{w}x{h} colour key", encode(rgb, format="PNG", transparency=(1, 2, 3))
        yield f"{w}x{h} 16 bits grey", encode(Image.fromarray(npr.randint(0, 600, (h, w)).astype(np.uint16)), format="PNG")
        for kind, channels in ((2, 3), (6, 4), (4, 2)):
            yield f"{w}x{h} 16 bits kind {kind}", raw_png(w, h, 16, kind, npr.bytes((w * channels * 2 + 1) * h), channels * 2)
        yield f"{w}x{h} 2 bits grey", raw_png(w, h, 2, 0, npr.bytes(((w + 3) // 4 + 1) * h), 0)
        yield f"{w}x{h} 4 bits grey", raw_png(w, h, 4, 0, npr.bytes(((w + 1) // 2 + 1) * h), 0)
        yield f"{w}x{h} interlaced", interlaced_png(a)


def raw_png(w, h, depth, kind, rows, pixel, interlace=0):
    import struct, zlib
    if not interlace:
        pitch = len(rows) // h
        rows = b"".join(b"\0" + rows[y * pitch + 1:(y + 1) * pitch] for y in range(h))
    chunk = lambda t, d: struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, kind, 0, 0, interlace))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def interlaced_png(a):
    rows = b""
    for y0, x0, dy, dx in ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)):
        part = a[y0::dy, x0::dx]
        if part.size:
            rows += b"".join(b"\0" + row.tobytes() for row in part)
    return raw_png(a.shape[1], a.shape[0], 8, 2, rows, 3, 1)


def windows(data, n):
    whole = decode(data)
    for _ in range(n):
        h, w = whole.shape[:2]
        x, y = rnd.randrange(w), rnd.randrange(h)
        box = (x, y, rnd.randint(1, w - x), rnd.randint(1, h - y))
        yield box, decode(data, box), whole[y:y + box[3], x:x + box[2]]


def fast_windows(files):
    for name, data in files:
        w, h = Image.open(io.BytesIO(data)).size
        least = max(1, min(w, h) // rnd.choice([1, 2, 3, 4, 8]))
        whole = decode_fast(data, least)
        for _ in range(4):
            x, y = rnd.randrange(whole.shape[1]), rnd.randrange(whole.shape[0])
            box = (x, y, rnd.randint(1, whole.shape[1] - x), rnd.randint(1, whole.shape[0] - y))
            yield f"{name} least {least} {box}", decode_fast(data, least, box), whole[y:y + box[3], x:x + box[2]]


def fast_distances(files):
    """How far --fast is from Pillow, as the mean difference in levels: at full size, and reduced beside the mean of each
    square."""
    full, reduced = [], []
    for name, data in files:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        full.append(np.abs(decode_fast(data, max(image.size)).astype(int) - np.asarray(image)).mean())
        for factor in (2, 4, 8):
            ours, theirs = decode_fast(data, min(image.size) // factor), np.asarray(image.reduce(factor))
            reduced.append(np.abs(ours.astype(int) - theirs).mean() if ours.shape == theirs.shape else 1e9)
    for what, levels in (("at full size", full), ("reduced", reduced)):
        check(f"fast: {what} {np.median(levels):.2f} levels off, at most {max(levels):.2f}", max(levels) < 4, "more than 4")


def truncations(files):
    """Without its end marker a file is read now and then, when libjpeg has looked ahead just as far as there is something."""
    for name, data in files:
        for cut in (1, 2, 3, 10, len(data) // 20, len(data) // 2, len(data) - 200):
            if 0 < cut < len(data):
                yield f"{name} less {cut} bytes", decode(data[:-cut]), pil(data[:-cut])


def flips(files):
    for name, data in files:
        for _ in range(6):
            bad = bytearray(data)
            for _ in range(rnd.randint(1, 3)):
                bad[rnd.randrange(len(data) // 3, len(data))] ^= 1 << rnd.randrange(8)
            theirs = pil(bytes(bad))
            if theirs is not None and theirs.size:
                yield f"{name} with flipped bits", decode(bytes(bad)), theirs


def resizes(pictures):
    for name, a in pictures:
        h, w = a.shape[:2]
        for _ in range(6):
            bw, bh = rnd.randint(1, w), rnd.randint(1, h)
            x, y = rnd.randint(0, w - bw), rnd.randint(0, h - bh)
            size = rnd.choice([(224, 224), (32, 32), (96, 96), (1, 1), (bw, 50), (50, bh),
                               (rnd.randint(1, 300), rnd.randint(1, 300))])
            px, py = rnd.randint(0, size[0] - 1), rnd.randint(0, size[1] - 1)
            part = (px, py, rnd.randint(1, size[0] - px), rnd.randint(1, size[1] - py))
            for bicubic in (False, True):
                theirs = Image.fromarray(a).crop((x, y, x + bw, y + bh))
                theirs = theirs.resize(size, Image.BICUBIC if bicubic else Image.BILINEAR)
                theirs = np.asarray(theirs)[py:py + part[3], px:px + part[2]]
                yield f"{name} {bw}x{bh} to {size}", resample(a, (x, y, bw, bh), bicubic, size, part), theirs


COLOURS = [("brightness", lambda i, f: F.adjust_brightness(i, f), 2), ("contrast", lambda i, f: F.adjust_contrast(i, f), 2),
           ("saturation", lambda i, f: F.adjust_saturation(i, f), 2), ("hue", lambda i, f: F.adjust_hue(i, f), 0.5),
           ("grey", lambda i, f: F.rgb_to_grayscale(i, 3), 1), ("solarise", lambda i, f: F.solarize(i, 128), 1),
           ("flip", lambda i, f: F.hflip(i), 1)]


def factors(pictures, op, theirs, top):
    lowest = -0.5 if top == 0.5 else 0
    for name, a in pictures:
        for f in [lowest, top, 1.0 if top == 2 else 0.0] + [rnd.uniform(lowest, top) for _ in range(5)]:
            f = float(np.float32(f))
            yield f"{name} by {f}", colour(op, f, a), np.asarray(theirs(Image.fromarray(a), f))


def blurs(pictures):
    for name, a in pictures:
        for s in [0.1, 2.0, 0.5, 5.0, 30.0] + [rnd.uniform(0.1, 2) for _ in range(5)]:
            s = float(np.float32(s))
            yield f"{name} sigma {s}", blur(s, a), np.asarray(Image.fromarray(a).filter(ImageFilter.GaussianBlur(s)))


def views(files):
    recipes = [("mocov2", 224), ("ssl-small", 224), ("simclr", 96), ("byol", 224), ("moco-cifar", 32), ("linear:bicubic=1", 64),
               ("eval", 224), ("eval", 32), ("eval:short=300,bicubic=1", 224)]
    for k, (name, data) in enumerate(files):
        w, h = Image.open(io.BytesIO(data)).size
        for recipe, size in recipes:
            for view in (0, 1):
                d = draw(recipe, size, view, w, h, seed=7, epoch=3, sample=k)
                out = np.zeros((size, size, 3), np.uint8)
                lib.image_view(data, C.c_size_t(len(data)), C.byref(d), pointer(out))
                yield f"{recipe} {size} view {view} of {name}", out, apply_in_pillow(data, d)


def centre_crops():
    for w, h in [(500, 375), (333, 500), (224, 224), (256, 256), (97, 401), (30, 20), (28, 28), (1, 5)]:
        a = synthetic(w, h)
        data = encode(Image.fromarray(a), format="PNG")
        for size, short in ((224, 256), (32, 32), (96, 96), (160, 183)):
            d = draw("eval", size, 0, w, h)
            out = np.zeros((size, size, 3), np.uint8)
            lib.image_view(data, C.c_size_t(len(data)), C.byref(d), pointer(out))
            i = Image.fromarray(a)
            i = i if (w, h) == (size, size) else F.center_crop(F.resize(i, short), size)
            yield f"{w}x{h} to {size}", out, np.asarray(i)


def every_colour():
    """All 16.7 million colours through hue, saturation and back."""
    n = np.arange(1 << 24, dtype=np.uint32)
    a = np.stack([n >> 16, n >> 8 & 255, n & 255], -1).astype(np.uint8).reshape(4096, 4096, 3)
    for f in (0.0, 0.3):
        yield f"hue {f}", colour(3, f, a), np.asarray(F.adjust_hue(Image.fromarray(a), f))


def main():
    full = bool(os.environ.get("FULL"))
    jpegs, real = list(made_jpegs()), photos(200 if full else 24)
    files = real or [(n, d) for n, d in jpegs if "150x200" in n]
    pictures = [(n, np.ascontiguousarray(pil(d))) for n, d in files[:200 if full else 10]]
    pictures += [("synthetic", synthetic(w, h)) for w, h in [(33, 70), (224, 224), (3, 1)]]
    small = [(n, a[:300, :300].copy()) for n, a in pictures]
    compare("JPEG decodes as in Pillow", ((n, decode(d), pil(d)) for n, d in jpegs + real))
    compare("PNG decodes as in Pillow", ((n, decode(d), pil(d)) for n, d in made_pngs()))
    compare("a window equals the whole cropped", ((f"{n} {b}", o, t) for n, d in jpegs + real for b, o, t in windows(d, 8)))
    compare("fast: a window equals the whole cropped", fast_windows(jpegs + real))
    if real:
        fast_distances(real)
    compare("truncated files fail where Pillow fails",
            truncations(files[:200 if full else 8] + photos(1, "Gila_monster") + jpegs[:40:3]))
    compare("damage that Pillow survives gives its pixels", flips(files[:100 if full else 8]))
    compare("resize", resizes(pictures))
    for op, (name, theirs, top) in enumerate(COLOURS):
        compare(name, factors(small, op, theirs, top))
    compare("all colours", every_colour())
    compare("blur", blurs(small))
    compare("whole recipes", views(files))
    compare("resize and centre crop", centre_crops())
    if not real:
        skip("real photos", "DATA names no folder with imagenet-sample-200.tar")
    done()


main()
