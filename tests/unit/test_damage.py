"""Files damaged at random: no crash, no endless work, no growing memory. Also to be run with a sanitised library (SAN=)."""
import ctypes as C, gzip, io, os, random, shutil, struct, subprocess, sys, tarfile, tempfile, time, zlib
import numpy as np
from PIL import Image

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from check import check, done, skip

lib = C.CDLL(os.path.join(os.environ.get("B", "build/release"), "libparity.so"))
for f, restype in (("why", C.c_char_p), ("set_open", C.c_void_p), ("decoder_new", C.c_void_p)):
    getattr(lib, f).restype = restype
C.c_int.in_dll(lib, "verbosity").value = -1
C.CDLL(None).mallopt(-3, 1 << 20)  # M_MMAP_THRESHOLD, as augment sets it
root = tempfile.mkdtemp()
rnd = random.Random(5)
npr = np.random.RandomState(5)


def hurt(data):
    """One of the accidents that happen to files."""
    b, kind = bytearray(data), rnd.randrange(5)
    if kind == 0:
        return bytes(b[:rnd.randrange(len(b))])
    if kind == 1:
        for _ in range(rnd.randint(1, 8)):
            b[rnd.randrange(len(b))] ^= 1 << rnd.randrange(8)
    elif kind == 2:
        at = rnd.randrange(min(len(b), 700))
        b[at] = rnd.randrange(256)
    elif kind == 3:
        at = rnd.randrange(len(b))
        b[at:at + rnd.randint(1, 600)] = npr.bytes(rnd.randint(0, 600))
    else:
        at = rnd.randrange(len(b))
        b[at:at + 512] = bytes(512)
    return bytes(b)


def encoded(w, h, format, mode="RGB", **how):
    f = io.BytesIO()
    Image.fromarray(npr.randint(0, 256, (h, w, 3)).astype(np.uint8)).convert(mode).save(f, format, **how)
    return f.getvalue()


def photos(n):
    tar = os.path.join(os.environ.get("DATA") or "", "imagenet-sample-200.tar")
    if not os.path.exists(tar):
        return []
    with tarfile.open(tar) as t:
        return [t.extractfile(m).read() for m in rnd.sample(t.getmembers(), n)]


def decode(data):
    """Header, then a window when the size is believable: what a worker does with a sample."""
    wh = (C.c_int * 2)()
    if lib.image_size(data, C.c_size_t(len(data)), wh) < 0:
        return False
    w, h = max(wh[0] // 2, 1), max(wh[1] // 2, 1)
    if w * h > 1 << 22:
        return False
    out = np.empty((h, w, 3), np.uint8)
    return lib.image_decode(data, C.c_size_t(len(data)), wh[0] // 4 if wh[0] > 1 else 0, wh[1] // 4 if wh[1] > 1 else 0, w, h,
                            out.ctypes.data_as(C.c_void_p)) == 0


def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 10


def late():
    """TIFF, and where heif-enc is HEIC and AVIF: by libraries that are opened when the first comes."""
    how = [{}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}, {"compression": "jpeg"}]
    files = [encoded(40, 30, "TIFF", **h) for h in how] + [encoded(40, 30, "TIFF", mode) for mode in ("L", "P", "RGBA", "CMYK")]
    files.append(encoded(90, 70, "TIFF", "1", compression="group4"))
    if not shutil.which("heif-enc"):
        skip("damaged HEIC and AVIF", "Debian's libheif-examples is not installed")
        return files
    for name in ("a.heic", "a.avif"):
        with open(f"{root}/a.png", "wb") as f:
            f.write(encoded(60, 44, "PNG"))
        subprocess.run(["heif-enc", "-q", "30", f"{root}/a.png", "-o", f"{root}/{name}"], check=True, capture_output=True)
        with open(f"{root}/{name}", "rb") as f:
            files.append(f.read())
    return files


def pictures():
    files = [encoded(90, 70, "JPEG", quality=q, subsampling=s, progressive=p) for q in (30, 90) for s in (0, 2)
             for p in (False, True)]
    files += [encoded(50, 40, "JPEG", "CMYK"), encoded(50, 40, "JPEG", "L"), encoded(50, 40, "JPEG", restart_marker_blocks=1)]
    files += [encoded(40, 30, "PNG", mode) for mode in ("RGB", "L", "P", "LA", "RGBA", "1")] + photos(6)
    files += [encoded(60, 40, "WEBP", mode, **how) for mode in ("RGB", "RGBA") for how in ({}, {"lossless": True})]
    files += late()
    slowest, survived, sizes, times = 0, 0, [], int(os.environ.get("TIMES", "150"))
    for i in range(times):
        for data in files:
            bad, t = hurt(data), time.thread_time()
            survived += decode(bad)
            slowest = max(slowest, time.thread_time() - t)
        if i in (times // 3, times - 1):
            sizes.append(resident())
    check(f"{times * len(files)} damaged pictures, {survived} of them still readable", survived < times * len(files),
          "none was damaged")
    check("none took longer than a second of the processor", slowest < 1, f"{slowest:.1f} s")
    check("memory stops growing", sizes[1] - sizes[0] < 10240, f"{sizes} kB")


def photographs():
    """Each photo damaged in 50 ways (FULL=1), or some of them in a few: through one decoder, as a thread of augment has it."""
    full = bool(os.environ.get("FULL"))
    files = photos(200 if full else 10)
    if not files:
        skip("damaged photos", "DATA names no folder with imagenet-sample-200.tar")
        return
    decoder, sizes, slowest, survived, n = C.c_void_p(lib.decoder_new()), [], 0, 0, 0
    for _ in range(50 if full else 6):
        for data in files:
            bad, t = hurt(data), time.thread_time()
            survived += lib.decode_again(decoder, bad, C.c_size_t(len(bad))) == 0
            slowest = max(slowest, time.thread_time() - t)
            n += 1
            if n in (len(files) * (5 if full else 2), len(files) * (50 if full else 6)):
                sizes.append(resident())
    lib.decoder_free(decoder)
    check(f"{n} damaged photos, {survived} of them still readable", 0 < survived < n, "all or none")
    check("no photo took longer than a second of the processor", slowest < 1, f"{slowest:.1f} s")
    check(f"from {len(files) * (5 if full else 2)} to {n} photos memory grows by less than 10 MB", sizes[1] - sizes[0] < 10240,
          f"{sizes} kB")


def bombs():
    """Small files that announce or ask for much work."""
    decoder = C.c_void_p(lib.decoder_new())
    jpeg, progressive = encoded(64, 64, "JPEG"), encoded(400, 300, "JPEG", progressive=True)
    wide, sof = bytearray(jpeg), jpeg.index(b"\xff\xc0") + 5
    wide[sof:sof + 4] = b"\xff\xff\xff\xff"
    sos = progressive.rindex(b"\xff\xda")
    scan = progressive[sos:-2]
    chunk = lambda t, d: struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))

    def png(w, h, data, *more):
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    text = chunk(b"zTXt", b"words\0\0" + zlib.compress(bytes(60 << 20)))
    profile = chunk(b"iCCP", b"words\0\0" + zlib.compress(bytes(60 << 20)))
    f = io.BytesIO()
    Image.new("RGB", (4000, 3000), (90, 100, 110)).save(f, "JPEG", progressive=True)
    large = f.getvalue()
    files = {"a JPEG of 400 scans of 12 million pixels": large[:-2] + large[large.rindex(b"\xff\xda"):-2] * 400 + b"\xff\xd9",
             "65535 x 65535 JPEG": bytes(wide), "a JPEG of 600 scans": progressive[:-2] + scan * 600 + b"\xff\xd9",
             "a JPEG of 499 scans and an end": progressive[:-2] + scan * 480 + b"\xff\xd9",
             "a billion-pixel PNG": png(1 << 15, 1 << 15, zlib.compress(bytes(1 << 20))),
             "a PNG with 60 MB of text": png(4, 4, zlib.compress(bytes(52)), text),
             "a PNG with a 60 MB profile": png(4, 4, zlib.compress(bytes(52)), profile),
             "a PNG with 100,000 chunks": png(4, 4, zlib.compress(bytes(52)), chunk(b"tEXt", b"a\0b") * 100000),
             "a PNG with a text of 4 GB": png(4, 4, zlib.compress(bytes(52)), struct.pack(">I", 0xfffffff4) + b"tEXt"),
             "a WebP of 16383 x 16383": encoded(1, 1, "WEBP", lossless=True)[:21] + b"\xff\xff\xff\x0f" + bytes(20)}
    wh = (C.c_int * 2)()
    for name, data in files.items():
        before, t = resident(), time.thread_time()
        lib.image_size_as(data, C.c_size_t(len(data)), True, wh)
        if lib.image_size(data, C.c_size_t(len(data)), wh) == 0:
            lib.decode_again(decoder, data, C.c_size_t(len(data)))
        seconds, grown = time.thread_time() - t, (resident() - before) >> 10
        check(f"a bomb: {name}: {seconds:.2f} s, {grown} MB", seconds < 1 and grown < 200, f"{seconds:.1f} s, {grown} MB")
    lib.decoder_free(decoder)


def data_sets():
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as t:
        for i in range(12):
            for name, data in ((f"{'d' * (i * 15)}é/{i}.jpg", encoded(16, 16, "JPEG")), (f"{i}.cls", b"3")):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                t.addfile(info, io.BytesIO(data))
    images = struct.pack(">IIII", 0x803, 9, 4, 4) + bytes(144)
    kinds = {"set.tar": tar.getvalue(), "train-images-idx3-ubyte": images, "train-images-idx3-ubyte.gz": gzip.compress(images),
             "data_batch_1.bin": bytes(3073 * 3)}
    for name, data in kinds.items():
        opened = 0
        for _ in range(int(os.environ.get("TIMES", "300"))):
            path = os.path.join(root, name)
            with open(path, "wb") as f:
                f.write(hurt(data))
            s = lib.set_open(path.encode(), b"")
            opened += bool(s)
            lib.dataset_free(C.c_void_p(s))
        check(f"damaged {name}, {opened} still opened", True)


try:
    pictures()
    photographs()
    bombs()
    data_sets()
finally:
    shutil.rmtree(root)
done()
