"""What a newcomer's folder holds beside pictures that can be read: it is said what is passed over, what it is, and what to do."""
import os
import subprocess
import sys
import tarfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "pipe"))
import lines
from lines import BIN, check, folder, images

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
PICKLE = b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x15training batch 1 of 5q\x03u."


def augment(d, *words, stdin=None):
    env = lines.environment(XDG_CACHE_HOME=f"{d}/cache")
    return subprocess.run([f"{BIN}/augment", *words], cwd=d, env=env, input=stdin or b"", capture_output=True, timeout=60)


def said(r):
    return r.stderr.decode()


def write(path, data=b"\1"):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


def pack(d, name, folder):
    with tarfile.open(f"{d}/{name}", "w") as t:
        t.add(f"{d}/{folder}", arcname=os.path.basename(folder))


def files_below(d, folder):
    return "\0".join(os.path.relpath(os.path.join(a, f), d) for a, _, files in os.walk(f"{d}/{folder}")
                     for f in sorted(files)).encode() + b"\0"


def test_passed_over(d):
    images(f"{d}/phone", 6)
    for name in ["a.jxl", "b.JXL", "c.jxl", "d.gif", "e.mp4", "f.txt", "g.json", "Thumbs.db", "notes.md", "desktop.ini"]:
        write(f"{d}/phone/class0/{name}")
    pack(d, "phone.tar", "phone")
    for what, words, stdin in (("a folder", ["phone"], None), ("a tar", ["phone.tar"], None),
                               ("a list", ["-0"], files_below(d, "phone")),
                               ("a tar on stdin", ["-"], lines.content(f"{d}/phone.tar"))):
        r = augment(d, "--describe", *words, stdin=stdin)
        text = said(r)
        check(f"{what}: says once how many of which kind it passes over",
              r.returncode == 0 and text.startswith("# augment: passed over 1 GIF, 3 JPEG XL (") and
              text.count("\n") == 1 and "1 video" in text and "mogrify" in text and "*.jxl" in text, text)
        check(f"{what}: serves the pictures", r.stdout.startswith(b"images\t6\n") and b"bad\t0\n" in r.stdout, r.stdout.decode())
    images(f"{d}/clean", 6)
    for name in ["f.txt", "g.json", "h.cls", "Thumbs.db", ".DS_Store", "._a.heic"]:
        write(f"{d}/clean/class0/{name}")
    r = augment(d, "--describe", "clean")
    check("what belongs beside pictures is not told of", r.returncode == 0 and not said(r), said(r))


def test_classes_lost(d):
    """A WebDataset that was unpacked: no folder is a class, and .cls files in folders are not read."""
    images(f"{d}/shards", 6, classes=1)
    os.rename(f"{d}/shards/class0", f"{d}/unpacked")
    for name in os.listdir(f"{d}/unpacked"):
        write(f"{d}/unpacked/{name.replace('.png', '.cls')}", b"1")
    r = augment(d, "--describe", "unpacked")
    check("classes that are not read are told of", r.returncode == 0 and b"classes\t0\n" in r.stdout
          and "6 class file" in said(r) and "--labels" in said(r), said(r))
    pack(d, "unpacked.tar", "unpacked")
    r = augment(d, "--describe", "unpacked.tar")
    check("the same in a tar has them", not said(r) and b"class\tunpacked\t6\t0\n" in r.stdout, f"{said(r)} {r.stdout}")


def test_jpeg_names(d):
    images(f"{d}/saved", 4)
    for i, e in enumerate(("jpe", "JFIF", "JPG", "jpeg")):
        os.rename(f"{d}/saved/class{i % 3}/{i:04d}.png", f"{d}/saved/class{i % 3}/{i}.{e}")
    r = augment(d, "--describe", "saved")
    check("browsers' other names of a JPEG are read", r.stdout.startswith(b"images\t4\n"), r.stdout)


def test_nothing_else(d):
    for what, names, word in (("a phone's moving photos", ["a.gif", "b.gif"], "2 GIF (to be converted"),
                              ("shards", ["a.tar", "b.tar"], "FOLDER/*.tar"),
                              ("a download", ["photos.zip"], "to be unpacked"), ("nothing known", ["a.xyz"], "no pictures")):
        name = what.replace(" ", "-")
        for n in names:
            write(f"{d}/{name}/{n}")
        r = augment(d, "--describe", name)
        check(f"a folder of {what} alone: one sentence", r.returncode == 1 and said(r).count("\n") == 1
              and "no pictures" in said(r) and word in said(r), said(r))


def test_true_kind(d):
    """A name says jpg, the bytes say something else."""
    kinds = {"HEIC": HEIC, "GIF": b"GIF89a\1\0\1\0", "HTML page": b"<!DOCTYPE html><html>", "TIFF": b"II*\0\x08\0\0\0",
             "Git LFS": b"version https://git-lfs.github.com/spec/v1\n",
             "zip": b"PK\3\4rest", "neither": b"something else", "empty": b""}
    images(f"{d}/named", 6)
    for kind, data in kinds.items():
        write(f"{d}/named/class0/{kind.replace(' ', '-')}.jpg", data)
    r = augment(d, "--describe", "named")
    for kind in kinds:
        row = [line for line in r.stdout.decode().splitlines()
               if line.startswith(f"unreadable\tclass0/{kind.replace(' ', '-')}.jpg\t")]
        known = {"HEIC": "libheif", "TIFF": "libtiff"}.get(kind, kind)   # what reads it, here or to be installed
        check(f"a bad file is named with its true kind: {kind}", len(row) == 1 and known in row[0].split("\t")[2], row)


def test_no_data_set(d):
    for name, data, word in (("page.tar", b"<!DOCTYPE html>" * 90, "an HTML page, neither"),
                             ("noise.tar", b"noise" * 300, "it is neither"), ("photos.zip", b"PK\3\4" * 99, "unpacked"),
                             ("one.gif", b"GIF89a" * 99, "1 GIF"), ("one.jpg", HEIC, "its folder")):
        write(f"{d}/single/{name}", data)
        r = augment(d, "--describe", f"single/{name}")
        check(f"{name} in place of a data set: what it is", r.returncode == 1 and said(r).count("\n") == 1 and word in said(r),
              said(r))


def test_cifar(d):
    """torchvision leaves the Python version behind; its users give what they have."""
    for n in ("data_batch_1", "data_batch_2", "test_batch"):
        write(f"{d}/root/cifar-10-batches-py/{n}", PICKLE)
    write(f"{d}/root/cifar-10-batches-py/batches.meta", PICKLE)
    write(f"{d}/root/cifar-10-python.tar.gz", b"\x1f\x8b\x08")
    for n in ("train", "test", "meta"):
        write(f"{d}/hundred/cifar-100-python/{n}", PICKLE)
    pack(d, "cifar-10-python.tar", "root/cifar-10-batches-py")
    pack(d, "cifar-100-python.tar", "hundred/cifar-100-python")
    for data in ("root", "root/cifar-10-batches-py", "root/cifar-10-batches-py/data_batch_1", "root/cifar-10-python.tar.gz",
                 "cifar-10-python.tar", "hundred",
                 "hundred/cifar-100-python", "hundred/cifar-100-python/train", "cifar-100-python.tar"):
        r = augment(d, "--describe", data)
        check(f"{data}: take the binary version", r.returncode == 1 and said(r).count("\n") == 1
              and "Python version of CIFAR" in said(r) and "-binary.tar.gz" in said(r), said(r))
    write(f"{d}/bin/cifar-10-batches-bin/data_batch_1.bin", bytes(3073))
    write(f"{d}/bin/cifar-10-binary.tar.gz", b"\x1f\x8b\x08")
    pack(d, "bin.tar", "bin/cifar-10-batches-bin")
    for data in ("bin.tar", "bin/cifar-10-binary.tar.gz", "bin"):
        r = augment(d, "--describe", data)
        check(f"{data}: unpack it, name its folder", r.returncode == 1 and said(r).count("\n") == 1 and "unpack" in said(r)
              and "folder" in said(r), said(r))


if __name__ == "__main__":
    with folder() as d:
        for test in (test_passed_over, test_classes_lost, test_jpeg_names, test_nothing_else, test_true_kind, test_no_data_set,
                     test_cifar):
            test(d)
    lines.done()
