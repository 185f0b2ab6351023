"""Data sets made here, read by lib/image: names, labels, splits, pixels."""
import fcntl, gzip, io, os, shutil, struct, tarfile, time
import numpy as np
from PIL import Image

from sets import Set, check, files, jpeg, npr, rnd, root, same, stdin, tar, write
from check import done


def folders():
    more = dict(files, **{"train/dog/deep/er/x.PNG": jpeg(5, 5, "PNG"), "train/notes.txt": b"no picture",
                          "train/cat/.hidden.jpg": b""})
    s = Set(write("tree", more))
    want = sorted((n, ["cat", "dog", "eel"].index(n.split("/")[1]), int(n.startswith("val")))
                  for n in list(files) + ["train/dog/deep/er/x.PNG"])
    same("folder: names, labels, splits", list(s), want)
    same("folder: classes", s.classes(), ["cat", "dog", "eel"])
    t = os.path.join(root, "tree")
    same("folder: a split alone", [x for x in Set(t + "/val/")], [(n[4:], l, k) for n, l, k in want if k])
    same("folder: two splits as two operands", {(n, k) for n, l, k in Set(t + "/train", t + "/val")},
         {(n.split("/", 1)[1], k) for n, l, k in want})
    os.symlink(os.path.join(t, "train", "dog"), os.path.join(t, "train", "wolf"))
    same("folder: links are followed", "wolf" in Set(t).classes(), True)
    os.unlink(os.path.join(t, "train", "wolf"))
    os.symlink("..", os.path.join(t, "train", "loop"))
    same("folder: a loop of links is passed over", list(Set(t)), want)
    os.unlink(os.path.join(t, "train", "loop"))
    flat = Set(write("flat", {"n01440764_tench.JPEG": jpeg(), "n01440764_2.JPEG": jpeg(), "n02000000_x.JPEG": jpeg()}))
    same("folder: synsets of flat names", [l for _, l, _ in flat], [0, 0, 1])
    same("folder: without classes", [l for _, l, _ in Set(write("bare", {"a.jpg": jpeg(), "b.jpg": jpeg()}))], [-1, -1])


def tars():
    plain = write("plain", files)
    want, mark = list(Set(plain)), Set(plain).text()
    shuffled = list(files.items())
    rnd.shuffle(shuffled)
    for label, path in (("ustar", tar("a.tar", files)), ("shuffled", tar("b.tar", dict(shuffled))),
                        ("./", tar("c.tar", files, "./")),
                        ("in a folder", tar("d.tar", files, "some/data/")), ("pax", tar("e.tar", files, "", tarfile.PAX_FORMAT)),
                        ("long names, GNU", tar("f.tar", files, "x" * 120 + "/" + "y" * 90 + "/", tarfile.GNU_FORMAT)),
                        ("long names, pax", tar("g.tar", files, "x" * 120 + "/" + "é" * 90 + "/", tarfile.PAX_FORMAT)),
                        ("long names, ustar", tar("h.tar", files, "x" * 90 + "/" + "y" * 50 + "/"))):
        s = Set(path)
        same(f"tar as folder: {label}", (list(s), s.text()) if s.p else s.why, (want, mark))
    s, i = Set(tar("a.tar", files)), 7
    same("tar: pixels", s.pixels(i).tobytes(), np.asarray(Image.open(io.BytesIO(files[want[i][0]]))).tobytes())
    with open(os.path.join(root, "cat.tar"), "wb") as f:
        for part in (dict(shuffled[:10]), dict(shuffled[10:])):
            with open(tar("part.tar", part), "rb") as p:
                f.write(p.read())
    same("tar: two in one file", list(Set(os.path.join(root, "cat.tar"))), want)
    same("tar: shards", list(Set(tar("s0.tar", dict(shuffled[:10])), tar("s1.tar", dict(shuffled[10:])))), want)
    size = os.path.getsize(os.path.join(root, "a.tar"))
    for keep in (300, 512, 800, 1536, 5000, size // 1024 * 512 + 100):
        check(f"tar: truncated to {keep} bytes", "truncated" in (Set(truncate("a.tar", keep)).why or ""), "no error")
    check("tar: damaged", "damaged" in (Set(damage("a.tar", 512 * 2 + 10)).why or ""),
          Set(damage("a.tar", 10)).why or "no error")
    piped(want, mark)
    web = {}
    for i in range(12):
        members = [(f"{i:06d}.jpg", jpeg()), (f"{i:06d}.cls", str(i % 5).encode() + b"\n"), (f"{i:06d}.json", b"{}")]
        web.update(members if i % 2 else members[::-1])
    s = Set(tar("web.tar", web))
    same("WebDataset: labels", [l for _, l, _ in s], [i % 5 for i in range(12)])
    same("WebDataset: classes", s.classes(), list("01234"))
    web_classes()


def piped(want, mark):
    """A pipe cannot be read twice, on stdin or under a name."""
    with open(os.path.join(root, "a.tar"), "rb") as f:
        data = f.read()
    stdin(data)
    s = Set("-")
    same("tar on stdin", (list(s), s.text()) if s.p else s.why, (want, mark))
    same("tar on stdin: pixels, in any order", [s.pixels(i).tobytes() for i in (30, 2)],
         [np.asarray(Image.open(io.BytesIO(files[want[i][0]]))).tobytes() for i in (30, 2)])
    fifo = os.path.join(root, "fifo")
    os.mkfifo(fifo)
    fd = os.open(fifo, os.O_RDWR)
    fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 1 << 20)
    os.write(fd, data)
    writer = os.open(fifo, os.O_WRONLY)
    os.close(fd)
    if os.fork() == 0:  # the end comes when nobody can write any more, and reading must have begun by then
        time.sleep(0.5)
        os._exit(0)
    os.close(writer)
    s = Set(fifo)
    same("tar in a pipe with a name", (list(s), s.text()) if s.p else s.why, (want, mark))
    for what, data, word in (("a compressed tar", gzip.compress(data), "zcat"), ("words", b"hello\n", "no tar"),
                             ("a picture", jpeg(), "no tar"), ("nothing", b"", "no pictures")):
        stdin(data)
        why = Set("-").why or "no error"
        check(f"{what} on stdin: an error", word in why, why)


def web_classes():
    def labels(name, prefix="", **kinds):
        """{extension: texts of the samples in turn} -> labels and classes."""
        members = {}
        for i in range(6):
            members[f"{prefix}{i}.{'webp' if i % 2 else 'jpg'}"] = jpeg()
            members.update({f"{prefix}{i}.{e}": texts[i % len(texts)].encode() for e, texts in kinds.items()})
        s = Set(tar(name, members))
        return ([l for _, l, _ in s], s.classes()) if s.p else s.why

    names, numbers = ["cat", "dog", "bee"], ([0, 2, 1] * 2, ["0", "1", "2"])
    same("WebDataset: .json numbers", labels("j0.tar", json=['{"cls": 0}', '{"label": 2}', '{"class": 1, "x": [1]}']), numbers)
    same("WebDataset: .json names", labels("j1.tar", json=['{"label": "%s"}' % n for n in names]), ([1, 2, 0] * 2, sorted(names)))
    same("WebDataset: .json without a class",
         labels("j2.tar", json=["{}", "[1]", "no json", '{"label": null}', '{"label": ""}', "[" * 5000]), ([-1] * 6, []))
    same("WebDataset: .txt names", labels("t0.tar", txt=[n + "\n" for n in names]), ([1, 2, 0] * 2, sorted(names)))
    same("WebDataset: captions are no classes", labels("t1.tar", txt=["a long text " * 8, "two\nlines", ""]), ([-1] * 6, []))
    same("WebDataset: .cls before .json before .txt", labels("c0.tar", txt=["9"], json=['{"cls": 8}'], cls=["0", "2", "1"]),
         numbers)
    same("WebDataset: .json before .txt", labels("c1.tar", txt=["9"], json=['{"cls": 0}', '{"cls": 2}', '{"cls": 1}']), numbers)
    shards = [tar(f"many-{i:04d}.tar", {f"{i:04d}{k}.{e}": d for k in range(2)
                                        for e, d in (("jpg", jpeg()), ("cls", str(i % 7).encode()))}) for i in range(60)]
    s = Set(*shards)
    same("WebDataset: 60 shards", [l for _, l, _ in s] if s.p else s.why, [i // 2 % 7 for i in range(120)])
    members = {}
    for i in range(8):
        members.update({f"{'eel' if i % 2 else 'fox'}/{i}.jpg": jpeg(),
                        f"{'eel' if i % 2 else 'fox'}/{i}.cls": str(3 * (i % 2)).encode()})
    s = Set(tar("named.tar", members))
    relabelled = {n: d.replace(b"3", b"2") if n.endswith("cls") else d for n, d in members.items()}
    check("WebDataset: other classes in the same members have another fingerprint",
          Set(tar("relabelled.tar", relabelled)).text(2) != s.text(2), "the same")
    same("WebDataset: numbers are called by their folders", (s.classes(), sorted({(n[:3], l) for n, l, _ in s})),
         (["fox", "1", "2", "eel"], [("eel", 3), ("fox", 0)]))


def web_apart():
    """Classes that stand apart from their pictures are found, whatever the order in the tar."""
    n, rows = 12, lambda i: {"jpg": jpeg(), "cls": str(i % 5).encode(), "json": b'{"label": 9}', "txt": b"8"}
    for label, folder, kinds in ((".cls", "", ("jpg", "cls")), (".json", "", ("jpg", "json")), (".txt", "", ("jpg", "txt")),
                                 (".cls, .json", "", ("jpg", "json", "cls")),
                                 (".cls in folders", "some/where/", ("jpg", "cls"))):
        members = [(f"{folder}{i:04d}.{e}", rows(i)[e]) for i in range(n) for e in kinds]
        want, order = None, lambda key: sorted(members, key=key)
        first, last = order(lambda m: m[0]), order(lambda m: (not m[0].endswith("jpg"), m[0]))
        for name, these in (("beside", first), ("pictures first", last), ("classes first", last[::-1]),
                            ("any order", rnd.sample(members, len(members)))):
            s = Set(tar("apart.tar", dict(these)))
            got = ({k: l for k, l, _ in s}, s.classes(), s.text(2)) if s.p else s.why
            want = want or got
            same(f"WebDataset: {label} {name}", got, want)
        same(f"WebDataset: {label}: every picture has a class", min(want[0].values()) >= 0, True)
    half = {f"{i}.{e}": d for e in ("jpg", "cls") for i, d in enumerate([jpeg()] * 4 if e == "jpg" else [b"1", b"0"])}
    same("WebDataset: a picture whose class is nowhere has none", sorted((n, l) for n, l, _ in Set(tar("half.tar", half))),
         [("0.jpg", 1), ("1.jpg", 0), ("2.jpg", -1), ("3.jpg", -1)])


def lists():
    tree = os.path.join(root, "plain")
    want, mark = list(Set(tree)), Set(tree).text()
    paths = [os.path.join(tree, n) for n in files]
    rnd.shuffle(paths)
    listed = lambda names: "\0".join(names).encode() + b"\0"
    s = Set(listed=listed(paths))
    same("list: a folder's files", (list(s), s.text()) if s.p else s.why, (want, mark))
    same("list: pixels", s.pixels(3).tobytes(), Set(tree).pixels(3).tobytes())
    here = os.getcwd()
    os.chdir(tree)
    same("list: as find . prints it", list(Set(listed=listed(["./" + n for n in files]))), want)
    os.chdir(here)
    same("list: without a last NUL", list(Set(listed=listed(paths)[:-1])), want)
    same("list: a split keeps its folder", list(Set(listed=listed(p for p in paths if "/val/" in p))),
         [(n, l, k) for n, l, k in want if k])
    odd = os.path.join(write("odd names", {"a b/new\nline.jpg": jpeg(), "c/no-extension": jpeg()}), "")
    same("list: any name, any extension",
         [n for n, _, _ in Set(listed=listed([odd + "a b/new\nline.jpg", odd + "c/no-extension"]))],
         ["a b/new\nline.jpg", "c/no-extension"])
    for label, data, word in (("a missing file", listed(paths[:2] + ["nowhere.jpg"]), "nowhere.jpg"),
                              ("a folder", listed([tree]), "no file"), ("nothing", b"", "no pictures"),
                              ("lines", "\n".join(paths).encode(), "tr ")):
        why = Set(listed=data).why or "no error"
        check(f"list: {label} is an error", word in why, why)


def labelled():
    tree = os.path.join(root, "plain")
    bare = sorted({n.split("/", 1)[1] for n in files})
    def use(name, lines, holdout=""):
        s = Set(tree, holdout=holdout, labels=os.path.join(write("labels", {name: "\n".join(lines).encode() + b"\n"}), name))
        return ({n: l for n, l, _ in s}, s.classes()) if s.p else s.why
    odd = {n: ["even", "odd"][int(n[-5]) % 2] for n in files}
    got = use("full.tsv", [f"{n}\t{c}" for n, c in odd.items()])
    same("labels: by name", got, ({n: int(c == "odd") for n, c in odd.items()}, ["even", "odd"]))
    same("labels: without the split's folder", use("bare.tsv", [f"{n}\t{odd['train/' + n]}\r" for n in bare]), got)
    same("labels: numbers stay", use("number.tsv", [f"{n}\t{5 + i % 2}" for i, n in enumerate(bare)]),
         ({n: 5 + bare.index(n.split("/", 1)[1]) % 2 for n in files}, [str(i) for i in range(7)]))
    same("labels: a line twice is one", use("twice.tsv", [f"{n}\t{c}" for n, c in odd.items()] * 2), got)
    part = use("part.tsv", [f"{bare[0]}\tx", "elsewhere.jpg\ty"])
    same("labels: the others have none", (sorted(part[0].values()), part[1]), ([-1] * (len(files) - 2) + [0, 0], ["x"]))
    mark = lambda name: Set(tree, labels=os.path.join(root, "labels", name)).text(2)
    use("again.tsv", [f"{n}\t{c}" for n, c in reversed(odd.items())])
    use("other.tsv", [f"{n}\t{c if k else 'even'}" for k, (n, c) in enumerate(list(odd.items())[::-1])])
    use("renamed.tsv", [f"{n}\t{c[::-1]}" for n, c in odd.items()])
    same("labels: their fingerprint is that of what they say",
         (mark("full.tsv") == mark("again.tsv") == mark("bare.tsv"),
          len({mark(n) for n in ("full.tsv", "other.tsv", "renamed.tsv", "number.tsv", "part.tsv")} | {Set(tree).text(2)})),
         (True, 6))
    for label, lines, word in (("no name fits", ["zzz\ta"], "none of its lines"), ("no tab", [f"{bare[0]} cat"], "tab"),
                               ("two classes for one", [f"{bare[0]}\tx", f"{bare[0]}\ty"], "both 'x' and 'y'"),
                               ("empty", [""], "names nothing")):
        check(f"labels: {label}: an error", word in str(use("bad.tsv", lines)), str(use("bad.tsv", lines)))
    check("labels: no such file", "No such file" in (Set(tree, labels="nowhere.tsv").why or ""), "no error")


def marked():
    """Texts as some editors write them: a byte-order mark in front, lines that end in CR LF."""
    mark, tree = b"\xef\xbb\xbf", os.path.join(root, "plain")
    bare = sorted({n.split("/", 1)[1] for n in files})
    odd = {n: ["even", "odd"][i % 2] for i, n in enumerate(bare)}
    tables = {"marked.tsv": mark, "unmarked.tsv": b""}
    folder = write("marked", {name: m + "".join(f"{n}\t{c}\r\n" for n, c in odd.items()).encode() for name, m in tables.items()})
    folder = write("marked", {"held.txt": mark + b"cat/00.jpg\r\neel/03.jpg\r\n", "wide.tsv": "cat/00.jpg\tx\n".encode("utf-16"),
                              "comma.csv": b"cat/00.jpg,x\n"})
    tables = [Set(tree, labels=f"{folder}/{name}") for name in tables]
    same("a mark before a label table", *[(list(s), s.classes(), s.text(2)) if s.p else s.why for s in tables])
    s = Set(tree, holdout=f"{folder}/held.txt")
    same("a mark before a list to hold out", s.text(1).split(":")[0] if s.p else s.why, "2")
    for name, word in (("wide.tsv", "UTF-8"), ("comma.csv", "tr ,")):
        check(f"a label table {name} is an error that helps", word in str(Set(tree, labels=f"{folder}/{name}").why),
              str(Set(tree, labels=f"{folder}/{name}").why))
    for e, texts in (("cls", ["0\r\n", "2\r\n", "1\r\n"]), ("json", ['{"cls": 0}', '{"cls": 2}', '{"cls": 1}']),
                     ("txt", ["0\r\n", "2\r\n", "1\r\n"])):
        s = Set(tar(f"marked-{e}.tar",
                    {f"{i}.{k}": d for i in range(3) for k, d in (("jpg", jpeg()), (e, mark + texts[i].encode()))}))
        same(f"a mark in .{e} members", ([l for _, l, _ in s], s.classes()), ([0, 2, 1], ["0", "1", "2"]))
    record = lambda i: bytes([i]) + bytes(3072)
    s = Set(write("marked-cifar",
                  {"data_batch_1.bin": record(0) + record(1), "batches.meta.txt": mark + b"airplane\r\nbird\r\n"}))
    same("a mark before names of classes", s.classes(), ["airplane", "bird"])
    paths = [os.path.join(tree, n) for n in files]
    for label, data in (("a mark before a list of files", mark + "\0".join(paths).encode()),
                        ("a list of files made from CR LF", "\r\0".join(paths + [""]).encode())):
        s = Set(listed=data)
        same(label, list(s) if s.p else s.why, list(Set(tree)))


def truncate(name, keep):
    path = os.path.join(root, "short-" + name)
    with open(os.path.join(root, name), "rb") as f, open(path, "wb") as g:
        g.write(f.read()[:keep])
    return path


def damage(name, at):
    path = os.path.join(root, "hurt-" + name)
    with open(os.path.join(root, name), "rb") as f:
        data = bytearray(f.read())
    while data[at:at + 512] == bytes(512) or data[at // 512 * 512 + 257:at // 512 * 512 + 262] != b"ustar":
        at += 512
    data[at] ^= 0x55
    with open(path, "wb") as g:
        g.write(data)
    return path


def idx(folder, name, images, labels, pack=gzip.compress, dots=False):
    os.makedirs(os.path.join(root, folder), exist_ok=True)
    n, h, w = images.shape
    for word, k, head, data in (("images", 3, struct.pack(">IIII", 0x803, n, h, w), images),
                                ("labels", 1, struct.pack(">II", 0x801, n), labels)):
        file = f"{name}-{word}{'.' if dots else '-'}idx{k}-ubyte" + (".gz" if pack is gzip.compress else "")
        with open(os.path.join(root, folder, file), "wb") as f:
            f.write(pack(head + data.tobytes()))
    return os.path.join(root, folder)


def idx_files():
    images, labels = npr.randint(0, 256, (70, 28, 28)).astype(np.uint8), np.arange(70).astype(np.uint8) % 10
    for label, pack, dots in (("gzip", gzip.compress, False), ("plain", bytes, False), ("dots", bytes, True)):
        folder = idx("idx-" + label, "train", images[:50], labels[:50], pack, dots)
        idx("idx-" + label, "t10k", images[50:], labels[50:], pack, dots)
        s = Set(folder)
        if not s.p:
            check(f"idx {label}", not s.why, s.why)
            continue
        got = {n: (l, k, s.pixels(i).tobytes()) for i, (n, l, k) in enumerate(s)}
        want = {f"{'test' if i >= 50 else 'train'}/{labels[i]}/{i - 50 if i >= 50 else i:06d}":
                (int(labels[i]), int(i >= 50), np.repeat(images[i][..., None], 3, -1).tobytes()) for i in range(70)}
        same(f"idx {label}: names, labels, splits, pixels", got, want)
    one = [f for f in os.listdir(folder) if f.startswith("train-images")][0]
    same("idx: one file", len(list(Set(os.path.join(folder, one)))), 50)
    data = open(os.path.join(folder, one), "rb").read()
    for label, bad in (("truncated", data[:-7]), ("huge", data[:4] + b"\xff" * 12 + data[16:]),
                       ("of no size", data[:8] + bytes(8) + data[16:]), ("only a header", data[:9])):
        check(f"idx {label}: an error", Set(write("bad-" + label, {one: bad})).why, "no error")
    half = gzip.compress(data)
    check("idx: half a gzip is an error", Set(write("half", {"train-images-idx3-ubyte.gz": half[:len(half) // 2]})).why,
          "no error")


def cifar_files():
    pixels = npr.randint(0, 256, (20, 3, 32, 32)).astype(np.uint8)
    names = "airplane automobile bird cat deer dog frog horse ship truck".split()
    record = lambda i, first: first + bytes([i % 10]) + pixels[i].tobytes()
    ten = write("cifar10", {"data_batch_1.bin": b"".join(record(i, b"") for i in range(15)),
                            "test_batch.bin": b"".join(record(i, b"") for i in range(15, 20)),
                            "batches.meta.txt": "\n".join(names).encode() + b"\n\n"})
    s = Set(ten)
    got = sorted((l, k, s.pixels(i).tobytes()) for i, (n, l, k) in enumerate(s))
    same("cifar10: labels, splits, pixels", got,
         sorted((i % 10, int(i >= 15), pixels[i].transpose(1, 2, 0).tobytes()) for i in range(20)))
    same("cifar10: classes", s.classes(), names)
    same("cifar10: one file", len(list(Set(ten + "/test_batch.bin"))), 5)
    hundred = write("cifar100", {"train.bin": b"".join(record(i, b"\x07") for i in range(10)), "test.bin": record(11, b"\x01")})
    same("cifar100: labels", sorted((l, k) for _, l, k in Set(hundred)), sorted([(i, 0) for i in range(10)] + [(1, 1)]))
    check("cifar: truncated", "truncated" in (Set(write("cifar-short", {"data_batch_1.bin": bytes(5000)})).why or ""),
          "no error")


def holdouts():
    plain = os.path.join(root, "plain")
    for n in (1, 3, 7, 15):
        counts = np.bincount([l for name, l, k in Set(plain, holdout=n) if k and name.startswith("train")], minlength=3)
        check(f"hold out {n}: balanced over classes", counts.sum() == n and counts.max() - counts.min() <= 1, str(counts))
    a, b = ([x for x in Set(plain, holdout=7) if x[2]] for _ in range(2))
    same("hold out: the same each time", a, b)
    few, many = ({n for n, _, k in Set(plain, holdout=n) if k} for n in (5, 10))
    check("hold out: more holds what fewer held", few < many, f"{few - many}")
    lists = {"with.txt": b"train/cat/00.jpg\ntrain/eel/03.jpg\n", "without.txt": b"cat/00.jpg\r\neel/03.jpg\r\n",
             "twice.txt": b"cat/00.jpg\neel/03.jpg\ncat/00.jpg\n", "wrong.txt": b"cat/00.jpg\ncat/99.jpg\n", "empty.txt": b"\n"}
    folder = write("lists", lists)
    for name in ("with.txt", "without.txt", "twice.txt"):
        s = Set(plain, holdout=f"{folder}/{name}")
        same(f"hold out {name}", [n for n, _, k in s if k and n.startswith("train")], ["train/cat/00.jpg", "train/eel/03.jpg"])
        same(f"hold out {name}: fingerprint counts", s.text(1).split(":")[0], "2")
    for what, part in ((f"{folder}/wrong.txt", "cat/99.jpg"), (f"{folder}/empty.txt", "nothing"),
                       (f"{folder}/none.txt", "none.txt"), ("0.1", "neither a number"),
                       (18, "18 of 18 training samples: give 1 to 17"), (0, "0 of 18")):
        check(f"hold out {os.path.basename(str(what))}: an error", part in (Set(plain, holdout=what).why or ""),
              str(Set(plain, holdout=what).why))


def wrong_paths():
    os.makedirs(os.path.join(root, "void"))
    for what, word in (("void", "no pictures"), ("not-there", "No such file"), ("lists/with.txt", "neither"),
                       ("web.tar.gz", "zcat")):
        if what.endswith("gz"):
            with open(os.path.join(root, what), "wb") as f:
                f.write(gzip.compress(b"x" * 1000))
        why = Set(os.path.join(root, what)).why or ""
        check(f"'{what}' is an error that helps", word in why, f"said '{why}'")


try:
    for part in (folders, tars, web_apart, lists, labelled, marked, idx_files, cifar_files, holdouts, wrong_paths):
        part()
finally:
    shutil.rmtree(root)
done()
