"""HEIC and AVIF against libheif's heif-convert, TIFF against Pillow and libtiff's tiff2rgba, pixel by pixel; turns against numpy;
bombs and cut files"""
import ctypes as C, io, os, random, shutil, struct, subprocess, sys, tarfile, tempfile, zlib
import numpy as np
from PIL import Image

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from check import check, done, skip
from heif_boxes import container, part
from tiff_files import BLACK_IS_ZERO, CMYK, PALETTE, RGB, WHITE_IS_ZERO, tiff

lib = C.CDLL(os.path.join(os.environ.get("B", "build/release"), "libparity.so"))
lib.why.restype = C.c_char_p
rnd = random.Random(3)
npr = np.random.RandomState(3)
root = tempfile.mkdtemp()


def decode(data, box=None, exif=False):
    wh = (C.c_int * 2)()
    if lib.image_size_as(data, C.c_size_t(len(data)), exif, wh) < 0:
        return None
    x, y, w, h = box or (0, 0, wh[0], wh[1])
    out = np.zeros((h, w, 3), np.uint8)
    return out if lib.image_decode_as(data, C.c_size_t(len(data)), exif, x, y, w, h,
                                      out.ctypes.data_as(C.c_void_p)) == 0 else None


def why():
    return lib.why().decode()


def distance(ours, theirs):
    """The largest difference of two pictures; 999: one is missing or of another size."""
    if ours is None or theirs is None or ours.shape != theirs.shape:
        return 999
    return int(np.abs(ours.astype(int) - theirs).max())


def compare(name, files, truth, exif=False, most=0):
    """files: (label, bytes); truth(bytes): their pixels. A window of each is read, too."""
    n, wrong = 0, []
    for label, data in files:
        ours, theirs = decode(data, None, exif), truth(data)
        n += 1
        far = distance(ours, theirs)
        if far > most:
            wrong.append(f"{label}: {far} {why() if ours is None else ''}")
            continue
        h, w = ours.shape[:2]
        x, y = rnd.randrange(w), rnd.randrange(h)
        box = (x, y, rnd.randint(1, w - x), rnd.randint(1, h - y))
        if distance(decode(data, box, exif), ours[y:y + box[3], x:x + box[2]]):
            wrong.append(f"{label}, window {box}")
    check(f"{name}: {n} files", not wrong and n, f"{len(wrong)} differ, as {wrong[:3]}")


def picture(w, h, channels=3):
    y, x = np.mgrid[0:h, 0:w]
    a = np.stack([127 + 120 * np.sin((x * (k + 1) + y * (3 - k)) / 9 + k) for k in range(channels)], -1)
    return np.clip(a + npr.randint(-20, 20, a.shape), 0, 255).astype(np.uint8)


def content(path):
    with open(path, "rb") as f:
        return f.read()


def pil(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def save(image, format, **how):
    f = io.BytesIO()
    image.save(f, format, **how)
    return f.getvalue()


def by_tool(data, ending, *command):
    """What a library's own tool makes of a file; None: it fails."""
    with open(f"{root}/tool{ending[0]}", "wb") as f:
        f.write(data)
    if os.path.exists(f"{root}/made{ending[1]}"):
        os.unlink(f"{root}/made{ending[1]}")
    subprocess.run([*command, f"{root}/tool{ending[0]}", f"{root}/made{ending[1]}"], capture_output=True, timeout=300)
    return pil(content(f"{root}/made{ending[1]}")) if os.path.exists(f"{root}/made{ending[1]}") else None


# --- HEIC and AVIF ---

def heif_convert(data):
    return by_tool(data, (".heic", ".png"), "heif-convert")


def heif_enc(source, *how, avif=False):
    """A picture, or the bytes of a file of another format, as HEIC or AVIF."""
    ending = "jpg" if isinstance(source, bytes) and source[:1] == b"\xff" else "png"
    with open(f"{root}/source.{ending}", "wb") as f:
        f.write(source if isinstance(source, bytes) else save(Image.fromarray(source), "PNG"))
    subprocess.run(["heif-enc", *(["-A"] if avif else []), *how, f"{root}/source.{ending}", "-o", f"{root}/coded"], check=True,
                   capture_output=True, timeout=300)
    return content(f"{root}/coded")


def coded(avif):
    for w, h in ((64, 64), (150, 101), (97, 130), (200, 33)):
        yield f"{w}x{h}", heif_enc(picture(w, h), "-q", "60", avif=avif)
    for chroma in ("422", "444"):
        yield chroma, heif_enc(picture(90, 70), "-p", f"chroma={chroma}", avif=avif)
    yield "lossless", heif_enc(picture(90, 70), "-L", "-p", "chroma=444", "--matrix_coefficients=0", avif=avif)
    yield "alpha", heif_enc(picture(90, 70, 4), avif=avif)
    yield "limited range", heif_enc(picture(90, 70), "--full_range_flag=0", avif=avif)
    yield "a thumbnail", heif_enc(picture(160, 120), "-t", "40", avif=avif)


def deep():
    """As heif-enc makes them of PNGs of 16 bits; AVIF of more than 8 it cannot with Debian 12's libaom."""
    for bits in (10, 12):
        a = (picture(80, 60).astype(np.uint16) << 8 | 77).astype(">u2")
        rows = b"".join(b"\0" + row.tobytes() for row in a)
        chunk = lambda t, d: struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))
        png = (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 80, 60, 16, 2, 0, 0, 0))
               + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
        yield f"{bits} bits", heif_enc(png, "-b", str(bits), "-q", "80")


def phones():
    tiles = [part(heif_enc(picture(64, 64), "-q", "60")) for _ in range(6)]
    yield "a grid", container(tiles, grid=(3, 2, 192, 128))
    yield "a grid that is cut", container(tiles, grid=(3, 2, 150, 99))
    for angle in range(4):
        yield f"a grid turned by {angle}", container(tiles, grid=(2, 3, 128, 190), turns=[("irot", angle)])
        for axis in (0, 1):
            yield f"turned {angle}, mirrored {axis}", container(tiles[:1], turns=[("irot", angle), ("imir", axis)])
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "EXIF that says turn", heif_enc(save(Image.fromarray(picture(90, 60)), "JPEG", exif=exif))


def turned():
    tile = part(heif_enc(picture(96, 64), "-q", "70"))
    plain = decode(container([tile]))
    wrong = [angle for angle in range(4) for exif in (False, True)
             if distance(decode(container([tile], turns=[("irot", angle)]), None, exif), np.rot90(plain, angle))]
    check("HEIC's turns are quarter turns to the left, once", plain is not None and not wrong, wrong)
    other = part(heif_enc(picture(96, 64), "-q", "70"))
    check("the primary image is read, not the first", distance(decode(container([tile, other], primary=2)),
                                                               decode(container([other]))) == 0)


def heif_bombs():
    tile = part(heif_enc(picture(64, 64)))
    large = part(heif_enc(np.zeros((1500, 2000, 3), np.uint8)))
    for name, data, word in (("60000 x 60000", container([tile], claim=(60000, 60000)), "60000"),
                             ("a grid of 60000 x 60000", container([tile], grid=(1, 1, 60000, 60000)), "60000"),
                             ("0 x 64", container([tile], claim=(0, 64)), ""),
                             ("small, with large pixels", container([large], claim=(64, 64)), ""),
                             ("a grid of tiles that are not there", container([tile], grid=(9, 9, 576, 576)), "")):
        check(f"a bomb: {name}", decode(data) is None and word in why(), why())


def cut(name, data):
    read = [keep for keep in [12, 40, 100] + [len(data) * k // 8 for k in range(1, 8)] if decode(data[:keep]) is not None]
    check(f"{name}: cut files are not readable", not read, read)


def heif():
    for name, avif in (("HEIC", False), ("AVIF", True)):
        compare(f"{name} as heif-convert reads it", coded(avif), heif_convert)
    # heif-convert keeps 16 bits, of which Pillow takes the upper ones: libheif's own way to 8 comes before its colours
    compare("HEIC of more bits, near heif-convert", deep(), heif_convert, most=3)
    files = list(phones())
    compare("grids, turns and EXIF of a phone", files, heif_convert)
    compare("the same with --exif", files, heif_convert, exif=True)
    turned()
    heif_bombs()
    cut("HEIC", heif_enc(picture(150, 101)))
    cut("AVIF", heif_enc(picture(150, 101), avif=True))


# --- TIFF ---

def tiff2rgba(data):
    return by_tool(data, (".tif", ".out.tif"), "tiff2rgba", "-n")


def by_pillow():
    """Files on which Pillow and libtiff agree: 8 bits, or 1."""
    for w, h in ((1, 1), (1, 17), (33, 21), (64, 48), (97, 101)):
        a = Image.fromarray(picture(w, h))
        alpha = Image.fromarray(picture(w, h, 4), "RGBA")
        for how in (None, "packbits", "tiff_lzw", "tiff_adobe_deflate"):
            for mode in ("1", "L", "P", "RGB"):
                yield f"{w}x{h} {mode} {how}", save(a.convert(mode), "TIFF", compression=how)
            yield f"{w}x{h} RGBA {how}", save(alpha, "TIFF", compression=how)
            yield f"{w}x{h} LA {how}", save(alpha.convert("LA"), "TIFF", compression=how)
        yield f"{w}x{h} fax", save(a.convert("1"), "TIFF", compression="group4")
        yield f"{w}x{h} JPEG", save(a, "TIFF", compression="jpeg")
    frames = [Image.fromarray(picture(40 + 9 * i, 30)) for i in range(3)]
    yield "three pages", save(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    for value in range(1, 9):
        for big in (False, True):
            yield f"orientation {value}", tiff(picture(40, 31), orientation=value, big=big)
    for kind in (1, 2):
        yield f"alpha of kind {kind}", tiff(picture(40, 31, 4), extra=(kind,))
    yield "two more channels", tiff(picture(40, 31, 5), extra=(2, 0))


def by_libtiff():
    for big in (False, True):
        for large in (False, True):
            for how in ({}, {"rows": 5}, {"tile": (32, 16)}, {"planes": True}, {"planes": True, "tile": (16, 16)}):
                label = f"big-endian {big} BigTIFF {large} {how}"
                yield f"RGB {label}", tiff(picture(41, 37), big=big, large=large, **how)
                yield f"16 bits {label}", tiff(npr.randint(0, 65536, (37, 41, 3)), bits=16, big=big, large=large, **how)
    for bits in (1, 2, 4, 8, 16):
        for photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO):
            yield f"grey {bits} {photometric}", tiff(npr.randint(0, 1 << bits, (31, 45, 1)), photometric, bits)
    for bits in (1, 2, 4, 8):
        yield f"palette {bits}", tiff(npr.randint(0, 1 << bits, (31, 45, 1)), PALETTE, bits,
                                      palette=npr.randint(0, 65536, (1 << bits, 3)))
    yield "CMYK", tiff(picture(45, 31, 4), CMYK)
    yield "CMYK of Pillow", save(Image.fromarray(picture(45, 31)).convert("CMYK"), "TIFF")
    yield "YCbCr", save(Image.fromarray(picture(45, 31)).convert("YCbCr"), "TIFF")
    yield "LAB", save(Image.fromarray(picture(45, 31), "LAB"), "TIFF")


def tiff_bombs():
    a = picture(40, 30)
    for name, data, word in (("60000 x 60000", tiff(a, claim=(60000, 60000)), "60000"),
                             ("a tile of 60000 x 60000", tiff(a, tile=(16, 16), claim_tile=(60000, 60000)), ""),
                             ("a tile of 4 billion squared", tiff(a, tile=(16, 16), claim_tile=(0xfffffff0,) * 2), ""),
                             ("0 x 30", tiff(a, claim=(0, 30)), ""), ("32 bits", tiff(a, bits=8).replace(
                                 b"\x02\x01\x03\0\x03", b"\x02\x01\x03\0\x01"), None)):
        read = decode(data)
        check(f"a bomb: {name}", word is None or (read is None and word in why()), why())
    cut("TIFF", tiff(a)[:-20])
    floats = save(Image.fromarray(picture(20, 20, 1)[..., 0].astype(np.float32)), "TIFF")
    check("floats are refused with libtiff's words", decode(floats) is None and "32-bit" in why(), why())


def photos():
    tar = os.path.join(os.environ.get("DATA") or "", "imagenet-sample-200.tar")
    if not os.path.exists(tar):
        skip("real photos", "DATA names no folder with imagenet-sample-200.tar")
        return
    with tarfile.open(tar) as t:
        images = [np.asarray(Image.open(t.extractfile(m)).convert("RGB")) for m in t.getmembers()[:40:8]]
    compare("photographs as TIFF", ((i, save(Image.fromarray(a), "TIFF")) for i, a in enumerate(images)), pil)
    if shutil.which("heif-enc"):
        compare("photographs as HEIC", ((i, heif_enc(a, "-q", "50")) for i, a in enumerate(images)), heif_convert)


def main():
    compare("TIFF as Pillow reads it", by_pillow(), pil)
    if shutil.which("tiff2rgba"):
        compare("TIFF as tiff2rgba reads it", by_libtiff(), tiff2rgba)
    else:
        skip("TIFF as tiff2rgba reads it", "Debian's libtiff-tools is not installed")
    tiff_bombs()
    if shutil.which("heif-enc") and shutil.which("heif-convert"):
        heif()
    else:
        skip("HEIC and AVIF", "Debian's libheif-examples is not installed")
    photos()


try:
    main()
finally:
    shutil.rmtree(root)
done()
