"""Mixed views: the law of their boxes, their bytes, the share that is told of them."""
import ctypes as C, os, shutil, sys
import numpy as np
from scipy import stats

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(here, ".."), os.path.join(here, "..", "unit")]
from check import check, done
from draws import Draw, lib
from hidden_views import same_bytes
from sets import Batches, jpeg, root, write

SIZE, BATCH = 56, 8


def cutmix(n, side, rng):
    """CutMix's boxes as BINGO's code draws them: (left, right, top, bottom)."""
    half = (side * np.sqrt(1 - rng.beta(2, 2, n))).astype(int) // 2
    x, y = rng.integers(0, side, (2, n))
    return [np.clip(at, 0, side) for at in (x - half, x + half, y - half, y + half)]


def law(folder, n=2500):
    b, draws, found = Batches(folder, mix="0+1", size=SIZE), (Draw * 16)(), []
    for k in range(n):
        lib.maker_draws(C.c_void_p(b.p), k % 16, k // 16, draws, (C.c_int * 2)())
        found.append([*draws[2].cut, draws[2].share])
    x, y, w, h, share = np.array(found).T
    left, right, top, bottom = cutmix(n, SIZE, np.random.default_rng(2))
    p = {"left": (x, left), "right": (x + w, right), "top": (y, top), "bottom": (y + h, bottom),
         "area": (w * h, (right - left) * (bottom - top)), "half": (np.maximum(w, h), np.maximum(right - left, bottom - top))}
    low = {k: q for k, v in p.items() if (q := stats.ks_2samp(*v).pvalue) <= .001}
    check("boxes are distributed as CutMix's with Beta(2, 2)", not low, low)
    check("a wrong law (Beta(1, 1)) would be noticed",
          stats.ks_2samp(w * h, np.prod(np.diff(np.array(uniform_boxes(n)).reshape(2, 2, n), axis=1)[:, 0], 0)).pvalue < 1e-6)
    check("the share is that of the pixels", np.abs(share - (1 - w * h / SIZE ** 2)).max() < 1e-6)


def uniform_boxes(n):
    rng = np.random.default_rng(2)
    half = (SIZE * np.sqrt(1 - rng.random(n))).astype(int) // 2
    x, y = rng.integers(0, SIZE, (2, n))
    return [np.clip(at, 0, SIZE) for at in (x - half, x + half, y - half, y + half)]


def views(b, step, names):
    found = {}
    for name in names:
        n, found[name] = b.make(step, name)
        if name not in ("mix", "index"):
            found[name] = np.frombuffer(found[name], np.uint8)[:n * SIZE * SIZE * 3].reshape(n, SIZE, SIZE, 3)
    return found


def served(folder):
    for mix, full in (("0+2", 4), ("1+0", 2)):
        b, draws, wrong = Batches(folder, mix=mix, views=full, size=SIZE, recipe="mocov2", crops="1x16"), (Draw * 16)(), []
        first, second = (int(v) for v in mix.split("+"))
        plain = Batches(folder, views=full, size=SIZE, recipe="mocov2")
        for step in (0, 3):                                              # two steps an epoch
            v = views(b, step, [f"view{i}" for i in range(full + 1)] + ["mix", "index"])
            wrong += [f"view{i}" for i in range(full) if plain.make(step, f"view{i}") != b.make(step, f"view{i}")]
            for row, sample in enumerate(v["index"]):
                lib.maker_draws(C.c_void_p(b.p), int(sample), step // 2, draws, (C.c_int * 2)())
                x, y, w, h = draws[full].cut
                want = v[f"view{first}"][row].copy()
                want[y:y + h, x:x + w] = v[f"view{second}"][row][y:y + h, x:x + w]
                if (want != v[f"view{full}"][row]).any() or v["mix"][row] != np.float32(1 - w * h / SIZE ** 2):
                    wrong.append((step, row))
        check(f"--mix {mix}: view{full} is the one with a box of the other, the other views are as ever", not wrong, wrong)
        check(f"--mix {mix}: it is counted", b.fact("views") == full + 2 and b.text("mix") == mix)
    check("mix: what changes a byte", same_bytes(folder, dict(recipe="mocov2", mix="2+1"), 3, 4) == [])
    b = Batches(folder, mix="0+1", size=24)
    parts = np.concatenate([b.make(1, "mix", p, 3)[1] for p in range(3)])
    check("mix: parts make the whole", (parts == b.make(1, "mix")[1]).all() and len(set(parts)) > 4)
    check("without --mix there is none", "--mix" in str(Batches(folder).make(0, "mix")))
    for words, said in ((dict(mix="0+2"), "--views"), (dict(mix="1+1"), "two of"), (dict(mix="0"), "two of"),
                        (dict(mix="0+1x"), "two of"), (dict(mix="-1+0"), "two of"),
                        (dict(mix="0+1", eval=True, views=2), "--eval"), (dict(mix="0+1", views=16), "16 together")):
        why = Batches(folder, **words).why or ""
        check(f"{words}: an error that helps", said in why and "\n" not in why, why)


try:
    pictures = write("photos", {f"c/{i:02d}.jpg": jpeg(140 - 7 * i, 60 + 5 * i, quality=90) for i in range(16)})
    law(pictures)
    served(pictures)
finally:
    shutil.rmtree(root)
done()
