"""augment --pack, --describe, --dry-run: what they write is what Python's tarfile and Pillow read, and a killed pack goes on."""
import collections, glob, hashlib, io, os, resource, subprocess, sys, tarfile, time

import numpy as np
from PIL import Image

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "pipe"))
import lines
from lines import BIN, check, content, folder, until


def augment(d, *words, stdin=subprocess.DEVNULL):
    return subprocess.run([f"{BIN}/augment", "-j2", *words], cwd=d, stdin=stdin, capture_output=True, text=True, timeout=60)


def save(d, name, w, h, seed, **how):
    os.makedirs(os.path.dirname(f"{d}/{name}"), exist_ok=True)
    y, x = np.mgrid[0:h, 0:w]
    a = np.stack([128 + 100 * np.sin((x + k * y + seed) / (5 + k)) for k in range(3)], -1).astype(np.uint8)
    Image.fromarray(a).save(f"{d}/{name}", **how)


def data(d):
    for i in range(30):
        c, split = ("ant", "bee", "cow")[i % 3], ("train", "val")[i >= 24]
        save(d, f"{split}/{c}/{i:02d}{('.x.jpg', '.png', '.webp')[i % 4 % 3]}", 40 + 3 * i, 100 - 2 * i, i)
    save(d, f"train/ant/{'long' * 30}.jpg", 50, 60, 7)
    with open(f"{d}/train/cow/broken.jpg", "wb") as f:
        f.write(content(f"{d}/train/ant/00.x.jpg")[:900])


def group(paths):
    """WebDataset's rule: neighbours whose names agree up to the first dot of the last part are one sample."""
    samples = collections.OrderedDict()
    for path in paths:
        with tarfile.open(path) as t:
            for m in t:
                base = m.name.rindex("/") + 1
                at = m.name.index(".", base)
                samples.setdefault(m.name[:at], {})[m.name[at + 1:]] = t.extractfile(m).read()
    return samples


def described(d, *words):
    r = augment(d, "--describe", *words)
    rows = collections.defaultdict(list)
    for line in r.stdout.splitlines():
        kind, *words = line.split("\t")
        rows[kind].append(words)
    return rows, r


def test_pack(d):
    r = augment(d, "--pack", "p-%03d.tar", "--short", "48", "--shard", "7", "--max-bad", "0.1", "data")
    shards = sorted(glob.glob(f"{d}/p-*.tar"))
    check("a pack is written", r.returncode == 0 and not r.stdout
          and [os.path.basename(s) for s in shards] == [f"p-{i:03d}.tar" for i in range(5)], r.stderr)
    check("it says what it left out and what it saved", "broken.jpg" in r.stderr and "31 images" in r.stderr and "%" in r.stderr,
          r.stderr)
    samples, wrong = group(shards), []
    names = sorted(os.path.relpath(f, f"{d}/data") for f in glob.glob(f"{d}/data/*/*/*") if "broken" not in f)
    keys = {os.path.splitext(n)[0].replace(".x", "_x"): n for n in names}
    check("tarfile finds a sample for each image, under its key", set(samples) == set(keys), set(samples) ^ set(keys))
    for key, parts in samples.items():
        before = content(f"{d}/data/{keys[key]}")
        image = Image.open(io.BytesIO(before))
        w, h = image.size
        extension = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}[image.format]
        if min(w, h) > 48:
            size = (48, int(48 * h / w)) if w < h else (int(48 * w / h), 48)
            f = io.BytesIO()
            image.convert("RGB").resize(size, Image.BICUBIC).save(f, "JPEG", quality=90)
            before, extension = f.getvalue(), "jpg"
        label = str(["ant", "bee", "cow"].index(key.split("/")[1]))
        if set(parts) != {extension, "cls"} or parts[extension] != before or parts["cls"].decode() != label:
            wrong.append(key)
    check("small ones are kept, others are Pillow's resize(BICUBIC).save(quality=90) to the byte",
          not wrong and len(samples) == 31, wrong)
    a, b = described(d, "data")[0], described(d, *shards)[0]
    check("classes, splits and labels are those of the data", a["class"][:2] == b["class"][:2] and a["test"] == b["test"]
          and b["images"] == [["31"]], f"{a} {b}")
    digests = [hashlib.sha256(content(s)).hexdigest() for s in shards]
    again = augment(d, "--pack", "p-%03d.tar", "--short", "48", "--shard", "7", "--max-bad", "0.1", "data")
    check("the same line again writes nothing", again.returncode == 0 and again.stderr.count("there already") == 5 and
          digests == [hashlib.sha256(content(s)).hexdigest() for s in shards], again.stderr)
    other = augment(d, "--pack", "p-%03d.tar", "--short", "32", "--shard", "7", "data")
    check("another pack is not written over", other.returncode == 1 and "remove it" in other.stderr
          and "broken" not in other.stderr, other.stderr)
    os.unlink(shards[2])
    with open(shards[2] + ".tmp", "wb") as f:
        f.write(b"half a shard")
    augment(d, "--pack", "p-%03d.tar", "--short", "48", "--shard", "7", "--max-bad", "0.1", "-j1", "data")
    check("a missing shard comes back the same", digests == [hashlib.sha256(content(s)).hexdigest() for s in shards]
          and not os.path.exists(shards[2] + ".tmp"))
    whole = [n for n in names if "broken" not in n]
    kept = augment(d, "--pack", "whole.%d.tar", "--max-bad", "1", "data")
    samples = group([f"{d}/whole.0.tar"])
    check("without --short every file is kept",
          kept.returncode == 0 and {k: v[next(e for e in v if e != "cls")] for k, v in samples.items()} ==
          {k: content(f"{d}/data/{n}") for k, n in keys.items()} and len(whole) == 31, kept.stderr)


def test_split(d):
    def names(*words):
        done = augment(d, *words, "--max-bad", "1", "data").returncode == 0
        return set(group([f"{d}/{words[1].replace('%d', '0')}"])) if done else None

    every = names("--pack", "every.%d.tar")
    check("--split: a pack of it",
          names("--pack", "test.%d.tar", "--split", "test") == {n for n in every if n.startswith("val/")} and
          names("--pack", "train.%d.tar", "--split", "train") == {n for n in every if n.startswith("train/")})
    check("--split: labels are those of the whole", group([f"{d}/test.0.tar"])["val/cow/26"]["cls"] == b"2")
    other = augment(d, "--pack", "test.%d.tar", "--split", "train", "data")
    check("--split: a pack of another is not written over", other.returncode == 1 and "remove it" in other.stderr, other.stderr)
    held, rest = (names("--pack", f"{name}.%d.tar", "--holdout", "9", "--split", split)
                  for name, split in (("held", "test"), ("rest", "train")))
    check("--split, --holdout: both halves make the whole", held and rest and held | rest == every and not held & rest,
          f"{held} {rest}")
    rows, r = described(d, "--split", "test", "data")
    check("--split: --describe counts it alone", r.returncode == 0 and rows["images"] == rows["test"] == [["6"]]
          and rows["train"] == [["0"]], rows)
    for split, word in (("tset", "train, test, all"), ("test", "--split all")):
        r = augment(d, "--pack", "none.%d.tar", "--split", split, "data" if split == "tset" else "data/train")
        check(f"--split {split} where there is none: one sentence", r.returncode == 2 and word in r.stderr
              and len(r.stderr.splitlines()) == 1, r.stderr)


def test_shards(d):
    """More shards than the soft limit of open files."""
    few = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (24, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    augment(d, "--pack", "one-%d.tar", "--shard", "1", "--max-bad", "1", "data")
    r = subprocess.run([f"{BIN}/augment", "-q", "--describe", *(os.path.basename(f) for f in glob.glob(f"{d}/one-*.tar"))],
                       cwd=d, preexec_fn=few, capture_output=True, text=True)
    check("32 shards, where 24 open files are usual", r.returncode == 0 and "images\t31\n" in r.stdout, r.stderr)


def test_killed(d):
    for i in range(40):
        save(d, f"many/{i % 2}/{i:03d}.png", 400, 300, i)
    words = ["--short", "200", "--shard", "2", "-j1", "many"]
    augment(d, "--pack", "want-%d.tar", *words)
    p = subprocess.Popen([f"{BIN}/augment", "--pack", "got-%d.tar", *words], cwd=d, stderr=subprocess.DEVNULL)
    until(lambda: os.path.exists(f"{d}/got-3.tar"), 30)
    p.kill()
    p.wait()
    left = len(glob.glob(f"{d}/got-*.tar"))
    r = augment(d, "--pack", "got-%d.tar", *words)
    check("a killed pack goes on where it was, to the same bytes", 4 <= left <= 20 and r.stderr.count("there already") == left and
          all(content(f"{d}/got-{i}.tar") == content(f"{d}/want-{i}.tar") for i in range(20)), f"{left} {r.stderr[-300:]}")


def test_exif(d):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(d, "turned/a/1.jpg", 90, 60, 3, exif=exif)
    augment(d, "--pack", "turned-%d.tar", "--exif", "turned")
    augment(d, "--pack", "asis-%d.tar", "turned")
    sizes = [Image.open(io.BytesIO(group([f"{d}/{n}-0.tar"])["a/1"]["jpg"])).size for n in ("turned", "asis")]
    check("--exif packs a turned picture turned", sizes == [(60, 90), (90, 60)], sizes)


def test_errors(d):
    os.makedirs(f"{d}/twice/a")
    for e in ("jpg", "png"):
        save(d, f"twice/a/1.{e}", 20, 20, 1)
    open(f"{d}/nothing.tar", "w").close()
    for name, words, code, part in (("a pattern without a number", ["--pack", "out.tar", "data"], 2, "%06d"),
                                    ("one with two", ["--pack", "%d%d.tar", "data"], 2, "%06d"),
                                    ("one with words", ["--pack", "%s.tar", "data"], 2, "%06d"),
                                    ("two images of one key", ["--pack", "o%d.tar", "twice"], 1, "rename"),
                                    ("too many unreadable", ["--pack", "b%d.tar", "--max-bad", "0", "data"], 1, "--max-bad"),
                                    ("a folder that is not there", ["--pack", "no/b%d.tar", "turned"], 1, "no/b0.tar"),
                                    ("a list and a folder", ["--describe", "-0", "data"], 2, "stdin"),
                                    ("two things at once", ["--describe", "--preview", "x.png", "data"], 2, "one at a time"),
                                    ("one picture", ["--describe", "turned/a/1.jpg"], 1, "its folder"),
                                    ("an empty file", ["--describe", "nothing.tar"], 1, "empty"),
                                    ("a preview over a folder", ["--preview", "data", "--max-bad", "1", "data"], 1, "directory")):
        r = augment(d, *words)
        said = [line for line in r.stderr.splitlines() if not line.startswith("#")]
        check(f"{name}: one sentence, status {code}", r.returncode == code and len(said) == 1 and part in said[0]
              and not r.stdout, f"{r.returncode} {r.stderr} {r.stdout}")
    check("nothing half-written is left", not glob.glob(f"{d}/*.tmp"), glob.glob(f"{d}/*.tmp"))


def test_describe(d):
    rows, r = described(d, "data")
    names = [f for f in glob.glob(f"{d}/data/*/*/*")]
    shorts = [min(Image.open(f).size) for f in names if "broken" not in f]
    want = {f"{a}-{2 * a - 1}": sum(a <= s < 2 * a for s in shorts) for a in (16, 32, 64)}
    check("--describe ends well", r.returncode == 0 and not r.stderr, r.stderr)
    check("--describe counts images, bytes, splits",
          [rows[k] for k in ("images", "bytes", "train", "test")] == [[[str(n)]] for n in (
        len(names), sum(map(os.path.getsize, names)), sum("/train/" in n for n in names), sum("/val/" in n for n in names))],
          rows)
    check("--describe counts classes",
          rows["class"] == [[c, str(sum(f"train/{c}/" in n for n in names)), str(sum(f"val/{c}/" in n for n in names))]
                            for c in ("ant", "bee", "cow")],
          rows["class"])
    check("--describe counts short sides", rows["side"] == [[k, str(v)] for k, v in want.items() if v], f"{rows['side']} {want}")
    check("--describe names what is unreadable, and why", [u[0] for u in rows["unreadable"]] == ["train/cow/broken.jpg"]
          and "truncated" in rows["unreadable"][0][1], rows["unreadable"])
    os.makedirs(f"{d}/odd/tab\tor\nline")
    with open(f"{d}/odd/tab\tor\nline/a\nb.jpg", "wb") as f:
        f.write(b"nothing")
    rows, r = described(d, "odd")
    check("--describe keeps to one fact a line, whatever the names", rows["class"] == [["tab?or?line", "1", "0"]]
          and rows["unreadable"][0][0] == "tab?or?line/a?b.jpg" and len(rows) == 8, rows)
    for label in (0, 7, 7, 1000):
        os.makedirs(f"{d}/gaps", exist_ok=True)
        n = len(os.listdir(f"{d}/gaps"))
        save(d, f"gaps/{n}.png", 20, 20, 1)
        with open(f"{d}/gaps.tsv", "a") as f:
            f.write(f"{n}.png\t{label}\n")
    rows, r = described(d, "--labels", "gaps.tsv", "gaps")
    check("--describe of numbered classes prints those that occur", (rows["classes"], rows["class"], rows["absent"]) ==
          ([["3"]], [["0", "1", "0"], ["7", "2", "0"], ["1000", "1", "0"]], [["1", "6", "6"], ["8", "999", "992"]]),
          r.stdout[:300])
    with open("/dev/full", "w") as full:
        r = subprocess.run([f"{BIN}/augment", "--describe", "data"], cwd=d, stdout=full, stderr=subprocess.PIPE, text=True)
    check("--describe into a full disk fails", r.returncode == 1 and "stdout" in r.stderr, r.stderr)


def test_dry_run(d):
    r = augment(d, "--dry-run", "--profile", "--recipe", "moco-cifar", "-b", "4", "--max-bad", "0.5", "data")
    number = r.stdout.split(" ")[0]
    check("--dry-run prints one line of images a second", r.returncode == 0 and r.stdout.count("\n") == 1 and float(number) > 1,
          f"{r.stdout} {r.stderr}")
    check("--profile says where the time went",
          all(f"augment: {w} " in r.stderr for w in ("read", "decode", "resample", "colour", "blur", "send")), r.stderr)


if __name__ == "__main__":
    with folder() as d:
        data(f"{d}/data")
        for test in (test_pack, test_split, test_shards, test_killed, test_exif, test_errors, test_describe, test_dry_run):
            test(d)
    lines.done()
