"""Bags: what probe finds is NumPy's, what augment makes of them is what was drawn, and a file of anything else is refused."""
import ctypes as C, io, json, os, shutil, struct, subprocess, sys
import numpy as np
from PIL import Image
from scipy import stats

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(here, ".."), os.path.join(here, "..", "unit")]
from check import check, done
from draws import Draw, draw, lib
from hidden_views import same_bytes
from pillow_view import apply_in_pillow
from sets import Batches, jpeg, npr, root, tar, write

BIN = os.path.abspath(os.environ.get("BIN", "bin"))
N, HELD, K, SIZE = 24, 4, 3, 24
NAMES = [f"{'ab'[i // 12]}/{i:02d}.jpg" for i in range(N)]


def photo(i):
    """Pictures that are alike in threes."""
    f, base = io.BytesIO(), np.random.RandomState(i // 3).randint(0, 256, (5, 4, 3))
    a = (base + npr.randint(0, 20, base.shape)).clip(0, 255).astype(np.uint8)
    Image.fromarray(a).resize((60 + 2 * i, 50 - i)).save(f, "JPEG", quality=90)
    return f.getvalue()


def probe(data, path, tasks=f"bags:k={K}", *words, jobs=1):
    line = f"{BIN}/augment -q -j1 --eval --size 8 {' '.join(words)} {data} | {BIN}/probe -q -j{jobs} --on view {tasks}"
    return subprocess.run(["sh", "-c", line.replace("bags:", f"bags:file={path},")], capture_output=True, text=True)


def read(path):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + n])
    return header, np.frombuffer(data[8 + n:], "<i4").reshape(header["bags"]["shape"])


def found(folder, path):
    """The probe against float64."""
    r = probe(folder, path, f"bags:k={K} export:file={root}/f.npy", f"--holdout {HELD}")
    header, bags = read(path)
    a = np.load(f"{root}/f.npy")
    train, test = a[a["split"] == 0], a[a["split"] == 1]
    unit = train["view0"].astype(float)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -2)
    near = np.argsort(-cosine, 1, "stable")[:, :K]
    said = json.loads(r.stdout.splitlines()[0])
    check("bags are the nearest by cosine, as NumPy finds them", (bags[train["index"]] == train["index"][near]).all(), bags)
    check("what is held out has none, and is in none", len(test) == HELD and (bags[test["index"]] == -1).all()
          and not np.isin(bags, test["index"]).any())
    same = 100 * (train["label"][near] == train["label"][:, None]).mean()
    check("the line says how many, and how many are of the class", (said["train"], said["k"]) == (N - HELD, K)
          and abs(said["same_class"] - same) < 1e-3, said)
    more = probe(folder, f"{root}/more", f"bags:k={N - HELD - 1}", f"--holdout {HELD}")
    check("a bag may hold all others", more.returncode == 0 and
          (np.sort(read(f"{root}/more")[1][train["index"]], 1) ==
           [np.delete(train["index"], i) for i in range(N - HELD)]).all())
    for task, said in ((f"bags:k={N - HELD}", "smaller k"), ("bags:k=1.5", "whole number"),
                       ("bags:k=2,file=/no/x", "write into")):
        r = probe(folder, f"{root}/no", task, f"--holdout {HELD}")
        check(f"{task}: refused by a sentence", r.returncode and said in r.stderr and not os.path.exists(f"{root}/no"),
              r.stderr)
    return bags


def many(n=1700):
    """More images and values than the probe multiplies at a time, nearly alike, some of them twice: the same by any threads."""
    rng = np.random.RandomState(4)
    base = rng.randint(60, 180, 3072) + rng.randint(-9, 10, (40, 3072))[rng.randint(0, 40, n)]
    pixels = (base + rng.randint(-6, 7, (n, 3072))).astype(np.uint8)
    pixels[900:920] = pixels[100]
    folder = write("cifar", {"data_batch_1.bin": np.concatenate([np.zeros((n, 1), np.uint8), pixels], 1).tobytes(),
                             "batches.meta.txt": b"airplane\n"})
    r = [probe(folder, f"{root}/many{j}", f"bags:k=7 export:file={root}/many.npy", "--size 32", jobs=j) for j in (1, 2)]
    bags = read(f"{root}/many1")[1]
    a = np.load(f"{root}/many.npy")
    x = np.zeros((n, 3072))
    x[a["index"]] = a["view0"]
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -2)
    best = -np.sort(-cosine, 1)[:, :7]
    got = np.take_along_axis(cosine, bags.astype(int), 1)
    check("many images: the bags are as near as NumPy's", all(x.returncode == 0 for x in r) and np.abs(got - best).max() < 1e-7
          and all(len(set(b)) == 7 for b in bags), np.abs(got - best).max())
    equal = np.where((best == best[:, :1]).all(1))[0]
    alike = np.where((x == x[equal[0]]).all(1))[0]
    check("among equal ones the first is nearest, itself left out", len(alike) == 21 and
          all(list(bags[i]) == [j for j in alike if j != i][:7] for i in alike), f"{len(alike)}")
    check("whatever the number of threads", (bags == read(f"{root}/many2")[1]).all())


def drawn(b, sample, epoch):
    draws, wh = (Draw * 16)(), (C.c_int * 2)()
    lib.maker_draws(C.c_void_p(b.p), sample, epoch, draws, wh)
    return draws


def members(bags, new, epochs=400):
    b = new(views=4)
    seen = np.array([[drawn(b, s, e)[2].member for e in range(epochs)] for s in range(N) if bags[s, 0] >= 0])
    rows = [r for r in bags if r[0] >= 0]
    p = [stats.chisquare([(s == m).sum() for m in row]).pvalue for s, row in zip(seen, rows)]
    check("members are of the bag, each alike often", all(set(s) == set(r) for s, r in zip(seen, rows)) and
          min(p) > .001 / len(p), min(p))
    places = np.array([[list(r).index(m) for m in s] for s, r in zip(seen, rows)])
    check("and are drawn apart for each image and epoch", np.abs(np.corrcoef(places) - np.eye(len(places))).max() < .3
          and abs(np.corrcoef(places[:, 1:].ravel(), places[:, :-1].ravel())[0, 1]) < .06)
    for views, of_member in ((2, [1]), (3, [2]), (4, [2, 3]), (5, [3, 4])):
        d = drawn(new(views=views, crops="1x8"), 0, 0)
        got = [v for v in range(views + 1) if d[v].member >= 0]
        check(f"of {views} views {of_member} are of the member", got == of_member and
              len({d[v].member for v in of_member}) == 1, got)


def pixels(data, new):
    """Every view is its draw applied to the member's picture, in the member's size; the mixed one is of both."""
    b, wrong, pictures = new(views=4, mix="2+0"), [], [data[n] for n in NAMES]
    label = Batches(os.path.join(root, "photos"), holdout=HELD, views=4, seed=5)
    for step in (0, 3):
        index = b.make(step, "index")[1]
        views = [np.frombuffer(b.make(step, f"view{v}")[1], np.uint8)[:8 * SIZE * SIZE * 3].reshape(8, SIZE, SIZE, 3)
                 for v in range(5)]
        for row, sample in enumerate(index):
            draws = drawn(b, int(sample), step // 2)
            for v in range(4):
                picture = pictures[sample if v < 2 else draws[v].member]
                w, h = Image.open(io.BytesIO(picture)).size
                d = draw("mocov2", SIZE, v, w, h, seed=5, epoch=step // 2, sample=int(sample))
                wrong += [(step, row, v)] * int((views[v][row] != apply_in_pillow(picture, d)).any())
            x, y, w, h = draws[4].cut
            want = views[2][row].copy()
            want[y:y + h, x:x + w] = views[0][row][y:y + h, x:x + w]
            wrong += [(step, row, "mixed")] * int((want != views[4][row]).any())
        wrong += [(step, n) for n in ("index", "label", "view0", "view1") if np.any(np.array(b.make(step, n)[1]) !=
                  np.array((label if n in ("index", "label") else new(views=4, bags="")).make(step, n)[1]))]
    check("views of members are as drawn; the image's own, its number and label are as ever", not wrong, wrong[:9])


def refused(folder, data, path):
    good = open(path, "rb").read()
    new = lambda **o: Batches(o.pop("data", folder), **{**dict(bags=path, holdout=HELD, views=2), **o}).why or ""
    other = write("other", dict(list(data.items())[1:]))
    cases = [("other data", new(data=other), "of other data"), ("another hold-out", new(holdout=3), "--holdout"),
             ("one view", new(views=1), "--views 2"), ("an evaluation", new(eval=True), "--eval"),
             ("the split all", new(split="all"), "--split"), ("no such file", new(bags=path + "x"), "No such file"),
             ("a pair of two images", new(recipe="mocov2:drop=1"), "one image")]
    for name, change, said in (("cut", good[:-4], ""), ("a changed number", good[:-4] + b"\7\0\0\0", "checksum"),
                               ("no bags", good.replace(b'"bags"', b'"cats"'), "")):
        with open(f"{root}/bad", "wb") as f:
            f.write(change)
        cases.append((name, new(bags=f"{root}/bad"), said))
    for name, why, said in cases:
        check(f"{name}: refused by a sentence", why and said in why and "\n" not in why, why)
    fine = new(recipe="mocov2:drop=1", views=4), new(data=tar("same.tar", data))
    check("the same data in a tar, and pairs of one image each, are fine", fine == ("", ""), fine)


def unreadable(data):
    """Of members that cannot be read others of the bag stand in, whoever makes them."""
    folder = write("hurt", data)
    path = f"{root}/hurt.safetensors"
    probe(folder, path)
    bags = read(path)[1]
    for i in (1, 5, 6, 7):                                               # of the same size: the fingerprint stays
        write("hurt", {NAMES[i]: data[NAMES[i]][:10] + bytes(len(data[NAMES[i]]) - 10)})
    new = lambda **o: Batches(folder, recipe="mocov2", size=SIZE, bags=path, views=2, seed=5, **o)
    views = [[b.make(s, "view1") for s in range(6)] for b in (new(threads=1), new(threads=4), new(cache=1 << 30))]
    again = new()
    back = [again.make(s, "view1") for s in reversed(range(6))][::-1]
    check("unreadable members: what changes a byte", views[0] == views[1] == views[2] == back)
    used = {drawn(again, s, e)[1].member for s in range(N) if s not in (1, 5, 6, 7) for e in range(30)}
    check("they are in no view", not used & {1, 5, 6, 7} and len(used) > 12, used)
    check("and are named once each", again.fact("bad") == 4, again.fact("bad"))
    return bags


def main():
    data = {name: photo(i) for i, name in enumerate(NAMES)}
    folder, path = write("photos", data), os.path.join(root, "bags.safetensors")
    bags = found(folder, path)
    new = lambda **o: Batches(folder, **{**dict(recipe="mocov2", size=SIZE, bags=path, holdout=HELD, seed=5), **o})
    many()
    members(bags, new)
    pixels(data, new)
    words = dict(recipe="mocov2:drop=.5", bags=path, holdout=HELD, mix="1+2")
    check("bags: what changes a byte", same_bytes(folder, words, 4, 5) == [], same_bytes(folder, words, 4, 5))
    print_of = new().text("bags")
    check("the fact is the number of members and a hash", print_of.startswith(f"{K}:") and len(print_of) == 18 and
          new(bags="").text("bags") == "", print_of)
    refused(folder, data, path)
    unreadable(data)


try:
    main()
finally:
    shutil.rmtree(root)
done()
