"""What probe draws: files that Pillow opens, the right colours, names and pictures at the right places, and sentences where it
cannot."""
import os
import sys

import numpy as np
from PIL import Image

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "pipe"))
import lines
from augment_peer import constant
from lines import Line, check, folder, images, json_lines

COLOURS = [(0x1f, 0x77, 0xb4), (0xff, 0x7f, 0x0e), (0x2c, 0xa0, 0x2c)]
COUNT, SIDE = 60, 16


def probe(d, *tasks, on="view", options=("--holdout", "15"), between=()):
    line = Line(["augment", "-q", "-j1", "--eval", "--size", str(SIDE), *options, "data"], *between,
                ["probe", "-q", "-j1", "--on", on, *tasks], cwd=d).wait(60)
    return line, json_lines(line.stdout)


def opened(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def table(path):
    with open(path) as f:
        return [row.rstrip("\n").split("\t") for row in f][1:]


def colour_count(a, colour):
    return (a == colour).all(-1).sum()


def views(d):
    """The pictures that are served, by name, from an export of the pixels."""
    probe(d, "export:file=v.npy")
    a = np.load(f"{d}/v.npy")
    return {n.decode(): np.rint(x * 255).reshape(SIDE, SIDE, 3).astype(int) for n, x in zip(a["name"], a["view0"])}


def find(a, picture):
    """Top left corners of the places in a sheet where exactly these pixels are."""
    h, w, _ = picture.shape
    at = np.argwhere((a[:a.shape[0] - h + 1, :a.shape[1] - w + 1] == picture[0, 0]).all(-1))
    return [(y, x) for y, x in at if (a[y:y + h, x:x + w] == picture).all()]


def test_points(d, pictures):
    line, rows = probe(d, "pca:png=p.png,thumbs=t.png", "tsne:perplexity=9,steps=300,png=q.png,file=none")
    check("pictures are drawn", line.code == 0 and [r.get("png") for r in rows] == ["p.png", "q.png"] and not line.stderr,
          line.stderr)
    for name in ("p.png", "q.png"):
        a = opened(f"{d}/{name}")
        counts = [colour_count(a[:, :-250], c) for c in COLOURS]
        check(f"{name}: three classes in three colours", min(counts) > 20 * 9 and
              max(counts) < 20 * 40, counts)
        check(f"{name}: and in the legend", min(colour_count(a[:, -250:], c) for c in COLOURS) > 60)
    check("no file where none is wanted", not os.path.exists(f"{d}/none") and not os.path.exists(f"{d}/tsne.tsv"))
    a, places = opened(f"{d}/t.png"), {}
    for name, picture in pictures.items():
        places.update({name: at for at in find(a, picture)[:1]})
    x = {r[0]: (float(r[3]), float(r[4]), int(r[2])) for r in table(f"{d}/pca.tsv")}
    got = np.array([places[n] for n in sorted(places)], float)
    want = np.array([x[n][:2] for n in sorted(places)])
    check("thumbs: pictures are those that are served", len(places) > COUNT / 2, len(places))
    check("thumbs: and stand where they belong", np.corrcoef(got[:, 1], want[:, 0])[0, 1] > .999 and
          np.corrcoef(got[:, 0], -want[:, 1])[0, 1] > .999)
    check("thumbs: in the frame of their class", all((a[y - 1, v] == COLOURS[x[n][2]]).all() for n, (y, v) in places.items()))


def unit(d):
    """Training and test samples in float64, of length 1, as an export gives them."""
    a = np.load(f"{d}/v.npy")
    x = a["view0"].astype(float)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return [(x[a["split"] == t], a["label"][a["split"] == t], [n.decode() for n in a["name"][a["split"] == t]]) for t in (0, 1)]


def ways(d, k, n):
    """{which: rows of query and neighbours, by name} from the definition."""
    (x, label, names), (y, test, queries) = unit(d)
    near = np.argsort(-(y @ x.T), 1, "stable")[:, :k]
    row = lambda i: (queries[i], [names[j] for j in near[i]])
    wrong = [i for i in range(len(y)) if label[near[i, 0]] != test[i]]
    cosines = x @ x.T
    np.fill_diagonal(cosines, -2)
    around = np.argsort(-cosines, 1, "stable")[:, :k]
    dense, seen = [], set()
    for i in np.argsort(-np.sort(cosines, 1)[:, -k:].mean(1), kind="stable"):
        if i not in seen and len(dense) < n:
            dense.append((names[i], [names[j] for j in around[i]]))
            seen |= set(around[i])
    return {"random": [row(i) for i in range(len(y))], "dense": dense,
            "confused": [row(i) for i in sorted(wrong, key=lambda i: -(y @ x.T)[i].max())]}


def rows_of(path, k):
    rows = table(path)
    return [(rows[i][0], [r[3] for r in rows[i:i + k]]) for i in range(0, len(rows), k)], rows


def test_neighbours(d, pictures, k=4, n=5):
    want = ways(d, k, n)
    for which, rows in want.items():
        line, said = probe(d, f"neighbours:which={which},n={n},k={k},file={which}.png,tsv={which}.tsv")
        got, text = rows_of(f"{d}/{which}.tsv", k)
        fine = sorted(got) == sorted(r for r in rows if r in got) and len(got) == n if which == "random" else got == rows[:n]
        check(f"{which}: queries and neighbours are NumPy's", line.code == 0 and fine and len(got) == said[0]["queries"],
              (line.stderr, got, rows[:n]))
        a, wrong = opened(f"{d}/{which}.png"), []
        for i, (query, near) in enumerate(got):
            for j, name in enumerate([query] + near):
                large = pictures[name].repeat(4, 0).repeat(4, 1)             # of 16 pixels: 64
                places = [(y, x) for y, x in find(a, large) if (y - 16) // ((a.shape[0] - 32) // len(got)) == i]
                frame = [tuple(a[y - 1, x]) for y, x in places]
                same = query.split("/")[-2] == name.split("/")[-2]
                wrong += [(i, j)] * ((j == 0 and (255, 255, 255) not in frame) or
                                     (j > 0 and ((0x2c, 0xa0, 0x2c) if same else (0xd6, 0x27, 0x28)) not in frame))
        check(f"{which}: the sheet shows them, in green and red", not wrong, wrong)
        share = 100 * np.mean([r[1] == r[4] for r in text])
        check(f"{which}: how many are of the class is said", abs(said[0]["same_class"] - share) < 1e-3, said)
    probe(d, f"neighbours:n={n},k={k},seed=1,file=none,tsv=other.tsv")
    check("another seed asks others", rows_of(f"{d}/other.tsv", k)[0] != rows_of(f"{d}/random.tsv", k)[0])


def refused(name, line, code, *words):
    said = [w for w in words if w not in line.stderr]
    spoken = [x for x in line.words if x.startswith("probe: ")]
    check(f"{name}: refused by one sentence", line.codes[-1] == code and not said and len(spoken) == 1, line.stderr)


def test_refusals(d):
    refused("a folder that is not there", probe(d, "tsne:png=no/p.png")[0], 2, "'no/'")
    refused("a folder in place of a file", probe(d, "pca:thumbs=data")[0], 2, "'data'", "folder")
    refused("a large perplexity", probe(d, "tsne:perplexity=60")[0], 2, "perplexity of 60", "60")
    refused("too many components", probe(d, "pca:dims=70")[0], 2, "70")
    refused("a split without samples", probe(d, "pca:split=test", options=())[0], 2, "split")
    refused("a way that is none", probe(d, "neighbours:which=best")[0], 2, "which=best", "dense")
    refused("more neighbours than images", probe(d, "neighbours:k=50")[0], 2, "50", "45")
    refused("no test images", probe(d, "neighbours", options=())[0], 2, "which=dense")
    columns = {"feature0": np.zeros((8, 3), np.float32), "label": np.zeros(8, np.int32), "split": np.zeros(8, np.int32),
               "index": np.arange(8)}
    for name, more, code, said in (("pictures that nobody gives", {}, 2, "augment"),
                                   ("grey pictures", {"view0": np.zeros((8, 9, 9, 1), np.uint8)}, 1, "three channels")):
        with constant({**columns, **more}, eval=True, steps=1, samples=8) as ticket:
            line = Line(["probe", "-q", "--from", ticket, "pca:thumbs=t.png"], cwd=d).wait(60)
        refused(name, line, code, "view0", said)


def main():
    with folder() as d:
        images(f"{d}/data", COUNT)
        for i in range(0, COUNT, 5):                                  # some in a wrong class, so that there are confusions
            os.rename(f"{d}/data/class{i % 3}/{i:04d}.png", f"{d}/data/class{(i + 1) % 3}/{i:04d}.png")
        pictures = views(d)
        test_points(d, pictures)
        test_neighbours(d, pictures)
        test_refusals(d)


if __name__ == "__main__":
    main()
    lines.done()
