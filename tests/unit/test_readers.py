"""Data sets made here, read by lib/image: names, labels, splits, pixels; batches that depend on nothing they should not."""
import ctypes as C, fcntl, gzip, io, os, random, shutil, struct, sys, tarfile, tempfile, time
import numpy as np
from PIL import Image

lib = C.CDLL(os.path.join(os.environ.get("B", "build/release"), "libparity.so"))
for f, restype in (("why", C.c_char_p), ("set_choose", C.c_void_p), ("set_class", C.c_char_p), ("set_text", C.c_char_p),
                   ("dataset_name", C.c_char_p),
                   ("batches_new", C.c_void_p), ("batches_fact", C.c_int64), ("batches_make", C.c_int64)):
    getattr(lib, f).restype = restype
C.c_int.in_dll(lib, "verbosity").value = -1
failed = False
root = tempfile.mkdtemp()
rnd = random.Random(3)
npr = np.random.RandomState(3)


def check(name, why=""):
    global failed
    failed |= bool(why)
    print(f"not ok - {name}: {why}" if why else f"ok - {name}", flush=True)


def same(name, got, want):
    check(name, "" if got == want else f"got {got!r:.300}, want {want!r:.300}")


def stdin(data):
    """Makes data what stdin holds: a pipe, so that nothing can be read twice."""
    r, w = os.pipe()
    fcntl.fcntl(w, fcntl.F_SETPIPE_SZ, 1 << 20)
    os.write(w, data)
    os.close(w)
    os.dup2(r, 0)
    os.close(r)


class Set:
    def __init__(self, *paths, holdout="", labels="", listed=None):
        """listed: what stdin holds, in place of paths."""
        if listed is not None:
            paths = ("-",)
            stdin(listed)
        self.p = lib.set_choose("\n".join(paths).encode(), listed is not None, str(labels).encode(), str(holdout).encode())
        self.why = None if self.p else lib.why().decode()

    def __iter__(self):
        out, i = (C.c_int * 3)(), 0
        while lib.set_sample(C.c_void_p(self.p), i, out) == 0:
            yield lib.dataset_name(C.c_void_p(self.p), i).decode(), out[0], out[1]
            i += 1

    def classes(self):
        i = iter(range(1 << 20))
        return [c.decode() for c in iter(lambda: lib.set_class(C.c_void_p(self.p), next(i)), None)]

    def text(self, which=0):
        return lib.set_text(C.c_void_p(self.p), which).decode()

    def pixels(self, i):
        wh, out = (C.c_int * 2)(), np.zeros(300 * 300 * 3, np.uint8)
        if lib.set_pixels(C.c_void_p(self.p), i, wh, out.ctypes.data_as(C.c_void_p)) < 0:
            return lib.why().decode()
        return out[:wh[0] * wh[1] * 3].reshape(wh[1], wh[0], 3)


class Batches:
    def __init__(self, *paths, holdout="", labels="", listed=None, recipe="moco-cifar", size=0, views=0, batch=8, seed=1,
                 eval=False, exif=False, cache=0, split="",
                 max_bad=1.0, threads=2):
        s = Set(*paths, holdout=holdout, labels=labels, listed=listed)
        o = (C.c_int64 * 7)(size, views, batch, seed, int(eval), cache, int(exif))
        self.p = s.p and lib.batches_new(C.c_void_p(s.p), recipe.encode(), o, split.encode(), C.c_double(max_bad), threads)
        self.why = None if self.p else lib.why().decode()
        self.batch = batch

    def fact(self, name):
        return lib.batches_fact(C.c_void_p(self.p), name.encode())

    def make(self, step, name, part=0, parts=1):
        kind, each = {"index": ("<i8", 1), "label": ("<i4", 1), "split": ("<i4", 1)}.get(name, ("u1", 1 << 16))
        out = np.zeros((self.batch * each,), kind)
        n = lib.batches_make(C.c_void_p(self.p), C.c_int64(step), part, parts, name.encode(), out.ctypes.data_as(C.c_void_p),
                             C.c_size_t(out.nbytes))
        return lib.why().decode() if n < 0 else (n, out[:n] if each == 1 else out.tobytes())


def jpeg(w=40, h=30, format="JPEG", **how):
    f = io.BytesIO()
    Image.fromarray(npr.randint(0, 256, (h, w, 3)).astype(np.uint8)).resize((w, h)).save(f, format, **how)
    return f.getvalue()


def write(folder, files):
    for name, data in files.items():
        path = os.path.join(root, folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(data)
    return os.path.join(root, folder)


def tar(name, files, prefix="", format=tarfile.USTAR_FORMAT):
    path = os.path.join(root, name)
    with tarfile.open(path, "w", format=format) as t:
        for n, data in files.items():
            i = tarfile.TarInfo(prefix + n)
            i.size = len(data)
            t.addfile(i, io.BytesIO(data))
    return path


files = {f"{split}/{c}/{i:02d}.jpg": jpeg(32 + i, 30 + i) for split in ("train", "val") for c in ("dog", "cat", "eel")
         for i in range(6)}


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
        check(f"tar: truncated to {keep} bytes", "" if "truncated" in (Set(truncate("a.tar", keep)).why or "") else "no error")
    check("tar: damaged", "" if "damaged" in (Set(damage("a.tar", 512 * 2 + 10)).why or "") else
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
        check(f"{what} on stdin: an error", "" if word in why else why)


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
          "" if Set(tar("relabelled.tar", relabelled)).text(2) != s.text(2) else "the same")
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
        check(f"list: {label} is an error", "" if word in why else why)


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
        check(f"labels: {label}: an error", "" if word in str(use("bad.tsv", lines)) else str(use("bad.tsv", lines)))
    check("labels: no such file", "" if "No such file" in (Set(tree, labels="nowhere.tsv").why or "") else "no error")


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
        check(f"a label table {name} is an error that helps", "" if word in str(Set(tree, labels=f"{folder}/{name}").why)
              else str(Set(tree, labels=f"{folder}/{name}").why))
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
            check(f"idx {label}", s.why)
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
        check(f"idx {label}: an error", "" if Set(write("bad-" + label, {one: bad})).why else "no error")
    half = gzip.compress(data)
    check("idx: half a gzip is an error", "" if Set(write("half", {"train-images-idx3-ubyte.gz": half[:len(half) // 2]})).why
          else "no error")


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
    check("cifar: truncated", "" if "truncated" in (Set(write("cifar-short", {"data_batch_1.bin": bytes(5000)})).why or "")
          else "no error")


def holdouts():
    plain = os.path.join(root, "plain")
    for n in (1, 3, 7, 15):
        counts = np.bincount([l for name, l, k in Set(plain, holdout=n) if k and name.startswith("train")], minlength=3)
        check(f"hold out {n}: balanced over classes", "" if counts.sum() == n and counts.max() - counts.min() <= 1
              else str(counts))
    a, b = ([x for x in Set(plain, holdout=7) if x[2]] for _ in range(2))
    same("hold out: the same each time", a, b)
    few, many = ({n for n, _, k in Set(plain, holdout=n) if k} for n in (5, 10))
    check("hold out: more holds what fewer held", "" if few < many else f"{few - many}")
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
        check(f"hold out {os.path.basename(str(what))}: an error", "" if part in (Set(plain, holdout=what).why or "")
              else str(Set(plain, holdout=what).why))


def orders():
    for n in (1, 2, 17, 1000):
        a, b = np.zeros(n, np.uint32), np.zeros(n, np.uint32)
        for epoch, out in ((0, a), (1, b)):
            lib.positions(C.c_int64(5), epoch, n, out.ctypes.data_as(C.c_void_p))
        check(f"an epoch of {n} is a permutation, each another", "" if sorted(a) == list(range(n)) and (n < 17 or (a != b).any())
              else "no")


def batches():
    plain, packed = os.path.join(root, "plain"), os.path.join(root, "a.tar")
    make = lambda step, *paths, **o: tuple(Batches(*paths, **o).make(step, n)[1] for n in ("view0", "view1"))
    for recipe, size in (("moco-cifar", 32), ("byol", 48)):
        base = make(3, plain, recipe=recipe, size=size)
        for label, other in (("four threads", make(3, plain, recipe=recipe, size=size, threads=4)),
                             ("one thread", make(3, plain, recipe=recipe, size=size, threads=1)),
                             ("a cache", make(3, plain, recipe=recipe, size=size, cache=1 << 30)),
                             ("a tar", make(3, packed, recipe=recipe, size=size))):
            check(f"{recipe}: {label} changes no byte", "" if other == base else "differs")
        listed = "\0".join(os.path.join(plain, n) for n in sorted(files, reverse=True)).encode()
        check(f"{recipe}: a list changes no byte", "" if make(3, listed=listed, recipe=recipe, size=size) == base else "differs")
        check(f"{recipe}: the seed does", "" if make(3, plain, recipe=recipe, size=size, seed=2) != base else "same")
    b = Batches(plain, cache=1 << 30, batch=7)
    again = [b.make(s, "view0")[1] for s in range(4)]
    check("a warm cache changes no byte", "" if [b.make(s, "view0")[1] for s in range(4)] == again else "differs")
    whole, size = b.make(1, "view0")[1], 32 * 32 * 3
    parts = [b.make(1, "view0", p, 3) for p in range(3)]
    same("parts are rows floor(pB/n) on", [p[0] for p in parts], [2, 2, 3])
    check("parts make the whole", "" if b"".join(d[:n * size] for n, d in parts) == whole[:7 * size] else "differs")
    same("whole batches in training", (b.fact("samples"), b.fact("steps_per_epoch"), b.fact("steps")), (18, 2, 400))
    seen = np.concatenate([b.make(s, "index")[1] for s in (2, 3)])
    check("an epoch repeats no sample, and takes the split train only", "" if len(set(seen)) == 14 and seen.max() < 18
          else str(seen))
    e = Batches(plain, eval=True, batch=10, recipe="mocov2", size=40, views=3)
    same("evaluation: every sample once, in order", np.concatenate([e.make(s, "index")[1] for s in range(4)]).tolist(),
         list(range(36)))
    same("evaluation: splits", np.concatenate([e.make(s, "split")[1] for s in range(4)]).tolist(), [k for _, _, k in Set(plain)])
    n, text = e.make(3, "name")
    width = max(len(f) for f in files)
    same("evaluation: names", [text[i * width:(i + 1) * width].rstrip(b"\0").decode() for i in range(n)], sorted(files)[30:])
    check("evaluation: view1 is drawn, the same each time", "" if e.make(0, "view1") == e.make(0, "view1") != e.make(0, "view0")
          else "no")
    for name, word in (("view3", "--views"), ("q0", "no stage")):
        check(f"asked for {name}, which nobody gives", "" if word in str(e.make(0, name)) else str(e.make(0, name)))
    check("asked for split without --eval", "" if "--eval" in str(b.make(0, "split")) else "no")
    check("asked for a step behind the last", "" if "400 steps" in str(b.make(400, "view0")) else "no")
    for o, word in ((dict(batch=19), "--batch 18"), (dict(split="tset"), "tset"),
                    (dict(split="val"), "folders are the split test"), (dict(recipe="moko"), "mocov2"),
                    (dict(recipe="mocov2:gray=1"), "grey")):
        check(f"options {o}: an error that helps", "" if word in (Batches(plain, **o).why or "")
              else str(Batches(plain, **o).why))
    check("only a test split: training takes it", "" if Batches(plain + "/val").p else "no")


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
    check("mixed formats: --exif does change them", "" if base != kept else "same")


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
    check("training: who stands in does not depend on threads", "" if first[0] == first[1] else "differs")
    e = Batches(folder, batch=8, eval=True, recipe="mocov2", size=32)
    same("evaluation: bad samples are left out", sorted(names[i] for step in range(2) for i in e.make(step, "index")[1]),
         sorted(fine))
    check("a handful may be bad, whatever their share",
          "" if isinstance(Batches(folder, batch=12, max_bad=0.01).make(0, "view0"), tuple) else "an error")
    os.remove(folder + "/c/palette.png")
    write("damaged", {"c/ninth.jpg": b""})
    for share, error in ((0.5, True), (9 / 15, False), (0, True)):
        got = Batches(folder, batch=12, max_bad=share).make(0, "view0")
        check(f"nine of fifteen bad, --max-bad {share:g}: {'an error' if error else 'goes on'}",
              "" if error == ("--max-bad" in str(got)) else f"{got:.80}")


def encode(mode, format="JPEG"):
    f = io.BytesIO()
    Image.fromarray(npr.randint(0, 256, (30, 30, 3)).astype(np.uint8)).convert(mode).save(f, format)
    return f.getvalue()


def wrong_paths():
    os.makedirs(os.path.join(root, "void"))
    for what, word in (("void", "no pictures"), ("not-there", "No such file"), ("lists/with.txt", "neither"),
                       ("web.tar.gz", "zcat")):
        if what.endswith("gz"):
            with open(os.path.join(root, what), "wb") as f:
                f.write(gzip.compress(b"x" * 1000))
        why = Set(os.path.join(root, what)).why or ""
        check(f"'{what}' is an error that helps", "" if word in why else f"said '{why}'")


try:
    for part in (folders, tars, web_apart, lists, labelled, marked, idx_files, cifar_files, holdouts, orders, batches, mixed,
                 damaged, wrong_paths):
        part()
finally:
    shutil.rmtree(root)
sys.exit(failed)
