"""Formats whose libraries are opened when a file asks for them: TIFF and HEIC from folders, tars and lists, into packs, and what
is said where a library is missing or too old. TIFF is checked against the same pictures as PNG."""
import glob
import os
import shutil
import subprocess
import sys
import tarfile

from PIL import Image

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "pipe"))
import lines
from lines import BIN, check, folder, images, skip

LIBRARIES = ("libheif.so.1", "libtiff.so.6", "libtiff.so.5")


def augment(d, *words, without=None, stdin=b""):
    """without: a folder of files that stand in for the libraries"""
    more = {"LD_LIBRARY_PATH": f"{d}/{without}"} if without else {}
    return subprocess.run([f"{BIN}/augment", *words], cwd=d, env=lines.environment(XDG_CACHE_HOME=f"{d}/cache", **more),
                          input=stdin, capture_output=True, timeout=300)


def said(r):
    return r.stderr.decode()


def pack(d, name, tree):
    with tarfile.open(f"{d}/{name}", "w") as t:
        t.add(f"{d}/{tree}", arcname=tree)


def make(d):
    images(f"{d}/png", 24, size=60)
    for i, path in enumerate(sorted(glob.glob(f"{d}/png/*/*.png"))):
        to = path.replace("/png/", "/tiff/").replace(".png", (".tif", ".TIFF")[i % 2])
        os.makedirs(os.path.dirname(to), exist_ok=True)
        Image.open(path).save(to, "TIFF", compression=(None, "tiff_lzw")[i % 3 % 2])
    pack(d, "tiff.tar", "tiff")
    images(f"{d}/mixed", 24, size=60)
    shutil.copy(glob.glob(f"{d}/tiff/class0/*")[0], f"{d}/mixed/class0/scan.tif")
    with open(f"{d}/mixed/class1/IMG_1.HEIC", "wb") as f:
        f.write(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50))
    for name in LIBRARIES:
        for to in ("missing", "old"):
            os.makedirs(f"{d}/{to}", exist_ok=True)
            open(f"{d}/{to}/{name}", "wb").close()
        subprocess.run(["gcc", "-shared", "-x", "c", "/dev/null", "-o", f"{d}/old/{name}"], check=True)


def contents(pattern):
    found = {}
    for path in sorted(glob.glob(pattern)):
        with tarfile.open(path) as t:
            found.update({m.name: t.extractfile(m).read() for m in t})
    return found


def test_sources(d):
    names = "\0".join(sorted(glob.glob("tiff/*/*", root_dir=d))).encode() + b"\0"
    whole = {}
    for what, words, stdin in (("a folder", ["tiff"], b""), ("a tar", ["tiff.tar"], b""), ("a list", ["-0"], names),
                               ("PNG", ["png"], b"")):
        r = augment(d, "--pack", f"{what.replace(' ', '')}-%d.tar", "--short", "40", *words, stdin=stdin)
        whole[what] = contents(f"{d}/{what.replace(' ', '')}-*.tar")
        check(f"TIFF from {what} is packed", r.returncode == 0 and len(whole[what]) == 48, said(r))
    check("and has the pixels that PNG has, whatever it comes from", all(w == whole["PNG"] for w in whole.values()),
          {k: list(v)[:3] for k, v in whole.items()})
    r = augment(d, "--pack", "kept-%d.tar", "tiff")
    kept = contents(f"{d}/kept-*.tar")
    first = sorted(glob.glob(f"{d}/tiff/class0/*"))[0]
    check("a pack keeps TIFF as it is, and is read again", r.returncode == 0 and sum(n.endswith(".tif") for n in kept) == 24
          and kept[f"class0/{os.path.basename(first).split('.')[0]}.tif"] == lines.content(first)
          and b"bad\t0\n" in augment(d, "--describe", "kept-0.tar").stdout, list(kept)[:4])


def test_threads(d):
    sheets = []
    for how in (["-j1", "--cache", "0"], ["-j4", "--cache", "0"], ["-j3"]):
        r = augment(d, "--preview", "sheet.png", "--size", "32", *how, "tiff")
        sheets.append((r.returncode, lines.content(f"{d}/sheet.png")))
    check("views do not depend on threads or the cache", sheets[0][0] == 0 and sheets[1:] == sheets[:1] * 2, said(r))


def test_missing(d):
    r = augment(d, "--describe", "mixed", without="missing")
    rows = [line.split("\t") for line in r.stdout.decode().splitlines() if line.startswith("unreadable")]
    check("without the libraries: each file is named, its format, and what to install",
          r.returncode == 0 and {(row[1], package in row[2], kind in row[2]) for row in rows for kind, package in (
              ("TIFF", "apt-get install libtiff6"), ("HEIC", "apt-get install libheif1")) if kind in row[2]}
          == {("class0/scan.tif", True, True), ("class1/IMG_1.HEIC", True, True)}, f"{rows} {said(r)}")
    r = augment(d, "--describe", "mixed", without="old")
    check("libraries that are too old: what they lack", "too old: it has no TIFFClientOpen" in r.stdout.decode()
          and "too old: it has no heif_context_alloc" in r.stdout.decode(), r.stdout)
    r = augment(d, "--dry-run", "-b", "2", "--size", "32", "mixed", without="missing")
    rows = said(r).splitlines()
    check("a dry run says what it reads and what not, and names what it left out", r.returncode == 0
          and "# augment: reads jpeg, png, webp" in rows and sum("reads no heic: libheif.so.1" in row for row in rows) == 1
          and sum("left out 'class0/scan.tif': it is TIFF" in row for row in rows) == 1, said(r))
    r = augment(d, "--dry-run", "-b", "8", "--size", "32", "tiff", without="missing")
    last = said(r).splitlines()[-1]
    check("too many of them: one sentence and status 1", r.returncode == 1 and last.startswith("augment: too many")
          and "apt-get install libtiff6" in last, said(r))


def test_here(d):
    r = augment(d, "--dry-run", "-b", "8", "--size", "32", "tiff")
    check("a dry run of TIFF", r.returncode == 0 and r.stdout.count(b"\n") == 1, said(r))
    check("it names the library", "tiff (libtiff.so." in said(r), said(r))
    if not shutil.which("heif-enc"):
        skip("HEIC and AVIF", "Debian's libheif-examples is not installed")
        return
    for i, path in enumerate(sorted(glob.glob(f"{d}/png/*/*.png"))[:16:2]):
        os.makedirs(f"{d}/phone/class{i % 2}", exist_ok=True)
        subprocess.run(["heif-enc", path, "-o", f"{d}/phone/class{i % 2}/{i}" + (".HEIC", ".avif")[i // 2 % 2]], check=True,
                       capture_output=True)
    pack(d, "phone.tar", "phone")
    for what in ("phone", "phone.tar"):
        r = augment(d, "--describe", "-j3", what)
        check(f"{what}: HEIC and AVIF", r.stdout.startswith(b"images\t8\n") and b"bad\t0\n" in r.stdout and not said(r), said(r))
    with open(f"{d}/phone/class0/0.HEIC", "r+b") as f:
        f.truncate(500)
    r = augment(d, "--describe", "phone")
    check("a cut one is unreadable", b"bad\t1\n" in r.stdout and b"unreadable\tclass0/0.HEIC\tlibheif says" in r.stdout, r.stdout)


if __name__ == "__main__":
    with folder() as d:
        make(d)
        for test in (test_sources, test_threads, test_missing, test_here):
            test(d)
    lines.done()
