"""Probes against NumPy and scikit-learn: neighbours, logistic regression, metrics, exported files."""
import gzip
import os
import sys
import tempfile
import warnings

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before libgomp is loaded

import numpy as np

from probe_ct import Samples, permuted, probe
from sprat_ct import check, done, safetensors_read, skip, why

FASHION = "/usr/share/datasets/fashion-mnist"


# --- three sets of features ---

def digits():
    from sklearn.datasets import load_digits
    x, y = load_digits(return_X_y=True)
    order = permuted(len(x))
    return "digits", Samples([x[order]], y[order], np.arange(len(x)) >= 1200)


def read_idx(name, offset, count, width):
    with gzip.open(os.path.join(FASHION, name)) as f:
        return np.frombuffer(f.read(offset + count * width), np.uint8)[offset:].reshape(count, width)


def fashion():
    """Clothes as 8 x 8 means, through random rectified projections: positive, correlated features as a network's."""
    pictures, labels = [], []
    for part, count in (("train", 5000), ("t10k", 2000)):
        raw = read_idx(f"{part}-images-idx3-ubyte.gz", 16, count, 784).reshape(count, 14, 2, 14, 2)
        pictures.append(raw.mean((2, 4)).reshape(count, 196) / 255)
        labels.append(read_idx(f"{part}-labels-idx1-ubyte.gz", 8, count, 1)[:, 0])
    w = np.random.default_rng(1).standard_normal((196, 256)) / 14
    x = np.maximum((np.concatenate(pictures) - 0.3) @ w, 0)
    return "fashion", Samples([x], np.concatenate(labels), np.arange(len(x)) >= 5000)


def blobs():
    """Many classes, overlapping, in some dimensions more than in others; splits mixed."""
    rng = np.random.default_rng(2)
    label = rng.integers(0, 40, 4000)
    x = rng.standard_normal((40, 96))[label] * 0.9 + rng.standard_normal((4000, 96)) * rng.uniform(0.3, 3, 96) + 2
    return "blobs", Samples([x], label, rng.uniform(size=4000) < 0.3)


def collapsed(spread):
    """A network that nearly collapsed: all features within a small angle, lengths from 3 to 9. Neighbours differ in late
    digits."""
    rng = np.random.default_rng(5)
    label = rng.integers(0, 10, 3000)
    x = rng.standard_normal((10, 64))[label] + 1.5 * rng.standard_normal((3000, 64))
    x = (8 * rng.standard_normal(64) + spread * x) * (1 + spread * rng.uniform(-1, 1, (3000, 1)))
    return f"collapsed to {spread:g}", Samples([x], label, np.arange(3000) >= 2000)


# --- nearest neighbours ---

def weighted_knn(s, k, t):
    """top-1 and top-5 in float64."""
    (train, train_label), (test, test_label) = s.part(0), s.part(1)
    cosine = unit64(test) @ unit64(train).T
    near = np.argsort(-cosine, 1, "stable")[:, :k]
    votes = np.zeros((len(test), s.classes))
    np.add.at(votes, (np.arange(len(test))[:, None], train_label[near]), np.exp(np.take_along_axis(cosine, near, 1) / t))
    order = np.argsort(-votes, 1, "stable")
    voted = votes[np.arange(len(test)), test_label] > 0
    return 100 * (order[:, 0] == test_label).mean(), 100 * ((order[:, :5] == test_label[:, None]).any(1) & voted).mean()


def test_knn(name, s):
    from sklearn.neighbors import KNeighborsClassifier
    (train, train_label), (test, test_label) = s.part(0), s.part(1)
    code, r = probe("knn:k=50,t=0.07,nn=15", s)
    top1, top5 = weighted_knn(s, 50, 0.07)
    one = 100.01 / len(test)  # a tie in single precision may fall the other way
    check(f"{name}: weighted kNN is NumPy's", code == 0 and abs(r["top1"] - top1) <= one and abs(r["top5"] - top5) <= one,
          f"{r} {top1} {top5}")
    plain = {k: 100 * KNeighborsClassifier(k, algorithm="brute").fit(train, train_label).score(test, test_label)
             for k in (1, 5, 15, r["best_nn_k"])}
    check(f"{name}: plain kNN is scikit-learn's", abs(r["fixed_nn"] - plain[15]) <= 2 * one
          and abs(r["best_nn"] - plain[r["best_nn_k"]]) <= 2 * one,
          f"{r} {plain}")
    check(f"{name}: the best k is not worse than others", r["best_nn"] >= max(plain.values()) - 2 * one
          and r["best_nn_k"] % 2 == 1)
    check(f"{name}: kNN does not depend on threads", probe("knn:k=50,t=0.07,nn=15", s, 1)[1] == r)


def plain_knn(s, fixed):
    """In float64, by differences: accuracy at a fixed k, and the best over odd k; equal votes go to the lowest label."""
    (train, train_label), (test, test_label) = s.part(0), s.part(1)
    train, hits = train.astype(np.float64), np.zeros(51)
    for row, truth in zip(test.astype(np.float64), test_label):
        near = np.argsort(((train - row) ** 2).sum(1), kind="stable")[:101]
        votes = np.cumsum(np.eye(s.classes, dtype=int)[train_label[near]], 0)[::2]
        hits += votes.argmax(1) == truth
    hits *= 100 / len(test)
    return hits[fixed // 2], hits.max()


def test_collapsed_knn(name, s):
    code, r = probe("knn:k=50,t=0.07,nn=15", s)
    fixed, best = plain_knn(s, 15)
    one = 100.01 / (s.split == 1).sum()
    check(f"{name}: plain kNN is that of double precision", code == 0 and abs(r["fixed_nn"] - fixed) <= one
          and abs(r["best_nn"] - best) <= one,
          f"{r} {fixed} {best}")
    top1, top5 = weighted_knn(s, 50, 0.07)
    check(f"{name}: weighted kNN, too", abs(r["top1"] - top1) <= one and abs(r["top5"] - top5) <= one, f"{r} {top1} {top5}")


def test_knn_of_nothing():
    """Features that are 0: every cosine is 0 and the earliest are nearest."""
    x = np.ones((6, 3))
    x[[1, 4, 5]] = 0
    code, r = probe("knn:k=2", Samples([x], [2, 1, 0, 0, 2, 1], [0, 0, 0, 0, 1, 1]))
    check("kNN of features that are 0", code == 0 and r["top1"] == 50 and r["best_nn"] == 50 and r["best_nn_k"] == 1, str(r))


def test_small_knn():
    """Fewer training samples than neighbours, labels from the first to the last."""
    s = Samples([[[1, 0], [0, 1], [-1, 0], [0.9, 0.1], [-0.8, -0.1]]], [0, 1, 7, 0, 7], [0, 0, 0, 1, 1])
    code, r = probe("knn", s)
    check("kNN with three training samples", code == 0 and r["k"] == 3 and r["top1"] == 100 and r["best_nn"] == 100
          and r["best_nn_k"] == 1
          and r["fixed_nn_k"] == 3, str(r))


# --- logistic regression ---

def test_linear(name, s):
    from sklearn.linear_model import LogisticRegression
    (train, train_label), (test, test_label) = s.part(0), s.part(1)
    code, r = probe("linear", s)
    scores = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for c in 10.0 ** np.arange(-3, 4):
            scores[c] = 100 * LogisticRegression(C=c, max_iter=300).fit(train, train_label).score(test, test_label)
        model = LogisticRegression(C=r["c"], max_iter=3000, tol=1e-6).fit(train, train_label)
    best = max(scores.values())
    check(f"{name}: linear within 0.5 of scikit-learn's best over C", code == 0 and r["top1"] >= best - 0.5, f"{r} {scores}")
    p = model.predict_proba(test)
    top5 = 100 * (np.argsort(-p, 1)[:, :5] == test_label[:, None]).any(1).mean()
    check(f"{name}: linear is scikit-learn's solution for the same C",
          abs(r["top1"] - 100 * model.score(test, test_label)) <= 0.35
          and abs(r["top5"] - top5) <= 0.35, f"{r} {100 * model.score(test, test_label)} {top5}")
    check(f"{name}: linear does not depend on threads", probe("linear", s, 1)[1] == r)


# --- metrics, from the exported file ---

def unit64(x):
    x = x.astype(np.float64)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def uniformity(u):
    order = permuted(len(u))
    size = min(128, len(u))
    values = []
    for part in range(min(3, len(u) // size)):
        v = u[order[part * size:(part + 1) * size]]
        square = ((v[:, None] - v[None]) ** 2).sum(2)[np.triu_indices(size, 1)]
        values.append(np.log(np.exp(-2 * square).mean()))
    return np.mean(values)


def intra_class(u, label):
    values = []
    for c in np.unique(label):
        v = u[label == c]
        if len(v) > 1:
            values.append((((v[:, None] - v[None]) ** 2).sum(2)[np.triu_indices(len(v), 1)]).mean())
    return np.mean(values)


def discrimination(query, positive, label):
    """The positive in a list with all query-side vectors, the query itself always first: top-(k+1) counts as top-k."""
    scores = query @ query.T
    np.fill_diagonal(scores, 2)
    listed = np.concatenate([(query * positive).sum(1, keepdims=True), scores], 1)
    place = np.array([np.flatnonzero(row == 0)[0] for row in np.argsort(-listed, 1, "stable")])
    return [100 * np.mean([(place[label == c] <= k).mean() for c in np.unique(label)]) for k in range(1, 6)]


def views_of(n, classes, dim, seed):
    rng = np.random.default_rng(seed)
    label = np.sort(rng.integers(0, classes, n))
    d = rng.standard_normal((classes, dim))[label] + rng.standard_normal((n, dim))
    return Samples([(d + s * rng.standard_normal((n, dim))) * rng.uniform(0.5, 4, (n, 1)) for s in (0, 0.9, 0.9)], label,
                   rng.uniform(size=n) < 0.6, names=True)


def nearly_one(n, classes, dim, seed, spread):
    """views_of(), shrunk towards one direction: what a collapsed network gives."""
    s = views_of(n, classes, dim, seed)
    away = 8 * np.random.default_rng(seed + 1).standard_normal(dim)
    return Samples([away + spread * v.astype(np.float64) for v in s.x], s.label, s.split, names=True)


def close(a, b, tolerance=1e-6):
    """By the share of b where b is small, as distances among collapsed features are."""
    return abs(a - b) <= min(tolerance, 1e-3 * abs(b))


def test_metrics(title, s, folder, spelling="metrics", split=1):
    path = os.path.join(folder, "features.npy")
    code, r = probe(spelling, s)
    probe(f"export:file={path}", s)
    rows = np.load(path)
    rows = rows[rows["split"] == split]
    u, label = [unit64(rows[f"feature{v}"]) for v in range(3)], rows["label"]
    check(f"{title}: uniformity", code == 0 and close(r["uniformity"], uniformity(u[0]))
          and close(r["uniformity_sd"], uniformity(u[1])), str(r))
    check(f"{title}: intra-class alignment", close(r["intra_class_alignment"], intra_class(u[0], label))
          and close(r["intra_class_alignment_sd"], intra_class(u[1], label)), str(r))
    check(f"{title}: alignment", close(r["alignment_d_sd"], 2 - 2 * (u[0] * u[1]).sum(1).mean())
          and close(r["alignment_sd_sd"], 2 - 2 * (u[1] * u[2]).sum(1).mean()), str(r))
    for name, a, b in (("d_sd", 0, 1), ("sd_sd", 1, 2)):
        ours, theirs = np.array(r[name]), np.array(discrimination(u[a], u[b], label))
        check(f"{title}: instance discrimination {name}", np.abs(ours - theirs).max() < 1e-3 and 0 < ours[0] < 100,
              f"{ours} {theirs}")
    check(f"{title}: threads change nothing", probe(spelling, s, 1)[1] == r)


def test_one_view(s):
    one = Samples(s.x[:1], s.label, s.split)
    code, r = probe("metrics", one)
    check("metrics of one view leave the others out, and say so", code == 0 and "left_out" in r and "uniformity" in r
          and "d_sd" not in r
          and "alignment_d_sd" not in r, str(r))
    code, r = probe("metrics:each=3", s)
    check("metrics of three samples a class", code == 0 and r["samples"] == 3 * r["classes"], str(r))


def test_export(s, folder):
    path = os.path.join(folder, "features.safetensors")
    code, _ = probe(f"export:file={path}", s)
    order = np.concatenate([np.flatnonzero(s.split == 0), np.flatnonzero(s.split == 1)])
    t, _ = safetensors_read(path)
    names = np.array([bytes(row).rstrip(b"\0") for row in t["name"]])
    check("safetensors hold what went in", code == 0 and all(np.array_equal(t[f"feature{v}"], s.x[v][order]) for v in range(3))
          and np.array_equal(t["label"], s.label[order]) and np.array_equal(t["split"], s.split[order])
          and np.array_equal(t["index"], s.index[order]) and np.array_equal(names, s.name[order]))
    path = os.path.join(folder, "features.npy")
    code, _ = probe(f"export:file={path}", s, on="q")
    a = np.load(path, allow_pickle=False)
    check("npy holds what went in", code == 0 and all(np.array_equal(a[f"q{v}"], s.x[v][order]) for v in range(3))
          and np.array_equal(a["label"], s.label[order]) and np.array_equal(a["split"], s.split[order])
          and np.array_equal(a["index"], s.index[order]) and np.array_equal(a["name"], s.name[order]))
    check("another ending is misuse", probe("export:file=features.csv", s)[0] == 2 and ".npy" in why(), why())


def test_refusals(s):
    train_only = Samples(s.x, s.label, s.split * 0)
    check("a missing split is misuse, named", probe("knn", train_only)[0] == 2 and "split test" in why(), why())
    check("metrics too", probe("metrics", train_only)[0] == 2 and "split test" in why(), why())
    unknown = Samples(s.x, np.where(s.split, s.label, -1), s.split)
    check("missing labels are misuse", probe("linear", unknown)[0] == 2 and "labels" in why(), why())
    broken = Samples([v.copy() for v in s.x], s.label, s.split)
    broken.x[1][5, 1] = np.inf
    check("features that are not finite are refused", probe("knn", broken)[0] == 1 and "feature1" in why()
          and "image 15 (row 5" in why(), why())
    broken.x[1][5, 1] = 1e30
    check("and those that cannot be squared", probe("knn", broken)[0] == 1 and "image 15 (row 5" in why(), why())
    check("half a neighbour is misuse", probe("knn:k=2.5", s)[0] == 2 and "k=2.5" in why(), why())
    check("so is a folder that is not there", probe("export:file=/nowhere/x.npy", s)[0] == 2 and "'/nowhere/'" in why(), why())


if __name__ == "__main__":
    sets = [digits(), blobs()]
    if os.path.isdir(FASHION):
        sets.append(fashion())
    else:
        skip("fashion: linear and kNN", "Debian's dataset-fashion-mnist is not installed")
    for name, samples in sets:
        test_knn(name, samples)
        test_linear(name, samples)
    for spread in (1, 1e-2, 1e-3, 1e-4):
        test_collapsed_knn(*collapsed(spread))
    test_small_knn()
    test_knn_of_nothing()
    with tempfile.TemporaryDirectory() as folder:
        samples = views_of(900, 7, 24, 3)
        test_metrics("metrics", samples, folder)
        test_metrics("metrics of split train", samples, folder, "metrics:split=train", 0)
        test_metrics("metrics of few", views_of(90, 4, 6, 4), folder)
        for spread in (1e-2, 1e-4):
            test_metrics(f"metrics of features collapsed to {spread:g}", nearly_one(900, 7, 24, 3, spread), folder)
        test_one_view(samples)
        test_export(samples, folder)
        test_refusals(samples)
    sys.exit(done())
