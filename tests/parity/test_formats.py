"""Every kind of file against Pillow 9.4, byte for byte: JPEG beyond what Pillow writes, PNG, WebP, all EXIF orientations; whole
and windows."""
import ctypes as C, io, os, random, struct, sys, warnings, zlib
import numpy as np
from PIL import Image, ImageFile, ImageOps, PngImagePlugin

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from check import check, done

lib = C.CDLL(os.path.join(os.environ.get("B", "build/release"), "libparity.so"))
lib.why.restype = C.c_char_p
lib.make_jpeg.restype = C.c_long
rnd = random.Random(11)
npr = np.random.RandomState(11)
warnings.simplefilter("ignore")
SIZES = [(1, 1), (1, 17), (17, 1), (7, 9), (16, 16), (33, 31), (64, 48), (97, 101), (3, 200), (200, 3)]


def decode(data, box=None, exif=False):
    wh = (C.c_int * 2)()
    if lib.image_size_as(data, C.c_size_t(len(data)), exif, wh) < 0:
        return None
    x, y, w, h = box or (0, 0, wh[0], wh[1])
    out = np.zeros((h, w, 3), np.uint8)
    return out if lib.image_decode_as(data, C.c_size_t(len(data)), exif, x, y, w, h,
                                      out.ctypes.data_as(C.c_void_p)) == 0 else None


def pil(data, exif=False):
    try:
        image = Image.open(io.BytesIO(data))
        return np.asarray((ImageOps.exif_transpose(image) if exif else image).convert("RGB"))
    except Exception:
        return None


def same(ours, theirs):
    return ours is theirs is None or (ours is not None and theirs is not None and ours.shape == theirs.shape
                                      and (ours == theirs).all())


def compare(name, files, exif=False, windows=6):
    n, wrong = 0, []
    for label, data in files:
        theirs = pil(data, exif)
        n += 1
        if not same(decode(data, None, exif), theirs):
            wrong.append(label)
            continue
        for _ in range(windows if theirs is not None else 0):
            h, w = theirs.shape[:2]
            x, y = rnd.randrange(w), rnd.randrange(h)
            box = (x, y, rnd.randint(1, w - x), rnd.randint(1, h - y))
            if not same(decode(data, box, exif), theirs[y:y + box[3], x:x + box[2]]):
                wrong.append(f"{label}, window {box}")
    check(f"{name}: {n} files", not wrong and n, f"{len(wrong)} differ, as {wrong[:3]}; {lib.why().decode()}")


def picture(w, h, channels=3):
    """Edges and smooth parts, so that upsampling and filters have something to do."""
    y, x = np.mgrid[0:h, 0:w]
    a = np.stack([127 + 120 * np.sin((x * (k + 1) + y * (3 - k)) / 7 + k) for k in range(channels)], -1)
    a += npr.randint(-30, 30, (h, w, channels))
    a[h // 3:h // 2, w // 4:w // 2] = npr.randint(0, 256, channels)
    return np.clip(a, 0, 255).astype(np.uint8)


def made_jpeg(a, sampling, quality=85, progressive=0, restart=0, arithmetic=0, other_colours=0):
    a = np.ascontiguousarray(a.reshape(a.shape[0], a.shape[1], -1))
    h, w, channels = a.shape
    out = np.zeros(w * h * 8 + 5000, np.uint8)
    n = lib.make_jpeg(a.ctypes.data_as(C.c_void_p), w, h, channels, (C.c_int * 8)(*sampling),
                      (C.c_int * 5)(quality, progressive, restart, arithmetic, other_colours),
                      out.ctypes.data_as(C.c_void_p), C.c_size_t(out.nbytes))
    return out[:n].tobytes()


def jpegs():
    samplings = {"4:4:4": (1, 1), "4:2:2": (2, 1), "4:2:0": (2, 2), "4:4:0": (1, 2), "4:1:1": (4, 1), "4:1:0": (4, 2),
                 "3:1": (3, 1), "1:4": (1, 4)}
    for w, h in SIZES:
        a = picture(w, h)
        for name, (across, down) in samplings.items():
            for how in ({}, {"progressive": 1}, {"restart": 1}, {"progressive": 1, "restart": 1}):
                yield f"{w}x{h} {name} {how}", made_jpeg(a, (across, down, 1, 1, 1, 1), **how)
        yield f"{w}x{h} odd sampling", made_jpeg(a, (2, 2, 1, 2, 2, 1))
        yield f"{w}x{h} arithmetic", made_jpeg(a, (2, 2, 1, 1, 1, 1), arithmetic=1)
        yield f"{w}x{h} RGB in RGB", made_jpeg(a, (1, 1, 1, 1, 1, 1), other_colours=1)
        yield f"{w}x{h} grey", made_jpeg(a[..., :1], (1, 1))
        yield f"{w}x{h} grey 2x2", made_jpeg(a[..., :1], (2, 2))
        four = picture(w, h, 4)
        yield f"{w}x{h} CMYK", made_jpeg(four, (1, 1) * 4)
        yield f"{w}x{h} YCCK", made_jpeg(four, (1, 1) * 4, other_colours=1)
        yield f"{w}x{h} YCCK 4:2:0", made_jpeg(four, (2, 2, 1, 1, 1, 1, 2, 2), other_colours=1, progressive=1)


def without(data, marker):
    """A JPEG without its segments of one kind."""
    out, at = data[:2], 2
    while data[at + 1] != 0xda:
        n = 2 + struct.unpack(">H", data[at + 2:at + 4])[0]
        out, at = out + (b"" if data[at + 1] == marker else data[at:at + n]), at + n
    return out + data[at:]


def odd_jpegs():
    a, plain = picture(40, 30), (2, 2, 1, 1, 1, 1)
    data = made_jpeg(a, plain)
    yield "no JFIF", without(data, 0xe0)
    yield "CMYK without Adobe's marker", without(made_jpeg(picture(40, 30, 4), (1, 1) * 4), 0xee)
    yield "YCCK without Adobe's marker", without(made_jpeg(picture(40, 30, 4), (1, 1) * 4, other_colours=1), 0xee)
    yield "RGB without Adobe's marker", without(made_jpeg(a, (1, 1) * 3, other_colours=1), 0xee)
    yield "words behind the end", data + b"words" * 100
    yield "a comment and padding", data[:2] + b"\xff\xff\xff\xfe\x00\x06abcd" + data[2:]
    yield "quality 1", made_jpeg(a, plain, quality=1)
    yield "quality 100", made_jpeg(a, plain, quality=100)


def png(w, h, depth, kind, raw, interlace=0, **chunks):
    chunk = lambda t, d: struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, kind, 0, 0, interlace))
            + b"".join(chunk(k.encode(), d) for k, d in chunks.items()) + chunk(b"IDAT", zlib.compress(raw))
            + chunk(b"IEND", b""))


def png_rows(w, h, bits, interlace):
    """Random rows of bits a pixel, each behind a random filter byte; Adam7's passes when interlaced."""
    passes = ((0, 0, 1, 1),)
    if interlace:
        passes = (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)
    raw = b""
    for y0, x0, dy, dx in passes:
        rows, columns = len(range(y0, h, dy)), len(range(x0, w, dx))
        raw += b"".join(bytes([rnd.randrange(5)]) + npr.bytes((columns * bits + 7) // 8) for _ in range(rows if columns else 0))
    return raw


def pngs():
    kinds = {0: ("grey", 1, (1, 2, 4, 8, 16)), 2: ("RGB", 3, (8, 16)), 3: ("palette", 1, (1, 2, 4, 8)),
             4: ("grey alpha", 2, (8, 16)), 6: ("RGBA", 4, (8, 16))}
    for w, h in SIZES[:8]:
        for kind, (name, channels, depths) in kinds.items():
            for depth in depths:
                for interlace in (0, 1):
                    extra = {"PLTE": npr.bytes(3 << depth)} if kind == 3 else {}
                    raw = png_rows(w, h, depth * channels, interlace)
                    yield f"{w}x{h} {name} {depth} bits interlace {interlace}", png(w, h, depth, kind, raw, interlace, **extra)
                    if kind == 3:
                        yield (f"{w}x{h} {name} {depth} bits transparent",
                               png(w, h, depth, kind, raw, interlace, **extra, tRNS=npr.bytes(1 << depth)))
                    if kind in (0, 2):
                        yield (f"{w}x{h} {name} {depth} bits colour key",
                               png(w, h, depth, kind, raw, interlace, tRNS=b"\0\1" * channels))
                    yield (f"{w}x{h} {name} {depth} bits gamma",
                           png(w, h, depth, kind, raw, interlace, gAMA=struct.pack(">I", 100000), **extra))


def save(image, format, **how):
    f = io.BytesIO()
    image.save(f, format, **how)
    return f.getvalue()


def webps():
    for w, h in SIZES:
        a = Image.fromarray(picture(w, h))
        alpha = a.copy().convert("RGBA")
        alpha.putalpha(Image.fromarray(npr.randint(0, 256, (h, w)).astype(np.uint8)))
        for quality in (5, 60, 95):
            yield f"{w}x{h} quality {quality}", save(a, "WEBP", quality=quality)
            yield f"{w}x{h} quality {quality} alpha", save(alpha, "WEBP", quality=quality)
        yield f"{w}x{h} lossless", save(a, "WEBP", lossless=True)
        yield f"{w}x{h} lossless alpha", save(alpha, "WEBP", lossless=True)
        yield f"{w}x{h} lossless exact", save(alpha, "WEBP", lossless=True, exact=True)
        yield f"{w}x{h} ICC and EXIF", save(a, "WEBP", icc_profile=b"x" * 300, exif=orientation(6))
    for alpha in (False, True):
        frames = [Image.fromarray(picture(60, 40, 4 if alpha else 3)) for _ in range(3)]
        yield f"animated, alpha {alpha}", save(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=50)


def orientation(value, big=False, kind=3):
    e = ">" if big else "<"
    entries = [(0x010f, 2, 4, b"me\0\0"),
               (0x0112, kind, 1, struct.pack(e + ("I" if kind == 4 else "HH"), *([value] if kind == 4 else [value, 0])))]
    body = b"".join(struct.pack(e + "HHI", t, k, n) + v for t, k, n, v in entries)
    return b"Exif\0\0" + (b"MM\0*" if big else b"II*\0") + struct.pack(e + "IH", 8, len(entries)) + body + bytes(4)


def oriented():
    for w, h in ((40, 31), (1, 9), (17, 16)):
        a = Image.fromarray(picture(w, h))
        for value in range(0, 10):
            for big, kind in ((False, 3), (True, 3), (True, 4)):
                for format in ("JPEG", "PNG", "WEBP"):
                    yield (f"{format} {w}x{h} orientation {value} big {big} type {kind}",
                           save(a, format, exif=orientation(value, big, kind)))
        plain = save(a, "JPEG")
        size = struct.pack(">H", 2 + len(orientation(6)))
        yield ("after another segment",
               plain[:2] + b"\xff\xe1\x00\x08http\0\0" + b"\xff\xe1" + size + orientation(6) + plain[2:])
        yield "none", plain
        yield "an empty segment", plain[:2] + b"\xff\xe1\x00\x08Exif\0\0" + plain[2:]
        cut = orientation(6)[:-14]
        yield "a cut directory", plain[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(cut)) + cut + plain[2:]


def noted(a, *notes):
    """A PNG with notes (how, key, text): how is text, zipped, itxt, zipped itxt, or the name of a chunk; with "after", behind
    the pixels."""
    info = PngImagePlugin.PngInfo()
    for how, key, text in notes:
        behind, kind = "after" in how, how.replace(" after", "")
        if kind.endswith("text"):
            info.add(b"zTXt" if kind[0] == "z" else b"tEXt",
                     key + b"\0" + (b"\0" + zlib.compress(text) if kind[0] == "z" else text), behind)
        elif kind.endswith("itxt"):
            info.add(b"iTXt", key + (b"\0\1\0en\0key\0" + zlib.compress(text) if kind[0] == "z" else b"\0\0\0\0\0" + text),
                     behind)
        else:
            info.add(kind.encode(), key + text, behind)
    return save(a, "PNG", pnginfo=info)


def raw_profile(tiff, prefix=b"", upper=False, width=72):
    """As ImageMagick writes EXIF into a PNG's text."""
    digits = (prefix + tiff).hex()
    digits = digits.upper() if upper else digits
    rows = "\n".join(digits[i:i + width] for i in range(0, len(digits), width))
    return b"\nexif\n%8d\n" % (len(digits) // 2) + rows.encode() + b"\n"


def png_notes():
    a, hexed, xmp = Image.fromarray(picture(33, 20)), b"Raw profile type exif", b"XML:com.adobe.xmp"
    tiff = lambda value: orientation(value)[6:]
    nothing = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x010f, 2, 4, 0, 0)
    attribute, element = b'<x tiff:Orientation="%d"/>', b"<x><tiff:Orientation>%d</tiff:Orientation></x>"
    for value in range(10):
        for how in ("text", "zipped text", "itxt", "zipped itxt", "text after", "zipped text after"):
            for prefix, upper in ((b"Exif\0\0", False), (b"", True)):
                yield f"hex {how} {value} prefix {prefix}", noted(a, (how, hexed, raw_profile(tiff(value), prefix, upper)))
            yield f"XMP attribute {how} {value}", noted(a, (how, xmp, attribute % value))
            packet = b"tiff:Orientation tiff:Orientation='5' " + element % value + attribute % 3
            yield f"XMP element {how} {value}", noted(a, (how, xmp, packet))
        yield f"a text called exif {value}", noted(a, ("text", b"exif", orientation(value)))
        yield f"odd line lengths {value}", noted(a, ("zipped text", hexed, raw_profile(tiff(value), width=31)))
        yield f"eXIf {value} before hex and XMP", noted(a, ("text", hexed, raw_profile(tiff(3))), ("text", xmp, attribute % 4),
                                                        ("eXIf", b"", tiff(value)))
    yield "hex before XMP", noted(a, ("itxt", xmp, attribute % 4), ("text", hexed, raw_profile(tiff(6))))
    yield "eXIf that says nothing, then XMP", noted(a, ("eXIf", b"", nothing), ("itxt", xmp, attribute % 5),
                                                    ("text", hexed, raw_profile(tiff(3))))
    yield "hex that says nothing, then XMP", noted(a, ("text", hexed, raw_profile(nothing)), ("itxt", xmp, attribute % 8))
    yield "the last hex counts", noted(a, ("text", hexed, raw_profile(tiff(6))), ("zipped text", hexed, raw_profile(tiff(8))))
    yield "the last eXIf counts", noted(a, ("eXIf", b"", tiff(6)), ("eXIf", b"", tiff(5)))
    yield "eXIf before the pixels beats one behind", noted(a, ("eXIf", b"", tiff(6)), ("eXIf after", b"", tiff(5)))
    yield "eXIf behind the pixels beats hex before", noted(a, ("text", hexed, raw_profile(tiff(6))), ("eXIf after", b"", tiff(5)))
    yield "XMP behind the pixels is not looked at", noted(a, ("eXIf", b"", nothing), ("itxt after", xmp, attribute % 5))
    yield "too few lines", noted(a, ("text", hexed, b"\nexif\n" + tiff(6).hex().encode()))
    yield "no text", noted(a, ("text", hexed, b""))
    yield "text in the long form's place", noted(a, ("iTXt", hexed + b"\0", b"\0"))
    yield "another key", noted(a, ("text", hexed + b"2", raw_profile(tiff(6))),
                               ("text", b"raw profile type exif", raw_profile(tiff(6))))
    packed = zlib.compress(raw_profile(tiff(6)))
    yield "deflate without its checksum", noted(a, ("zTXt", hexed + b"\0\0", packed[:-4]))
    yield "deflate damaged", noted(a, ("zTXt", hexed + b"\0\0", b"\x78\x9c" + bytes(20)))


def truncated(files):
    for name, data in files:
        for keep in (12, 20, 40, len(data) // 3, len(data) - 300, len(data) - 2, len(data) - 1):
            if 0 < keep < len(data):
                yield f"{name} to {keep} of {len(data)} bytes", data[:keep]


def main():
    compare("JPEG of every sampling, coding and colour", jpegs())
    compare("odd JPEG", odd_jpegs())
    compare("PNG of every kind, depth and interlace", pngs(), windows=1)
    compare("WebP", webps())
    compare("truncated WebP fails where Pillow fails", truncated(list(webps())[::7]), windows=0)
    compare("EXIF orientations, turned", oriented(), exif=True, windows=3)
    compare("EXIF orientations in a PNG's texts, turned", png_notes(), exif=True, windows=1)
    compare("EXIF orientations, ignored", list(oriented())[::5], windows=1)


main()
done()
