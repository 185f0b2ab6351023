"""Principal components and t-SNE against NumPy and scikit-learn: the same axes, the same steps, and places that are as
good by one measure that takes all pairs."""
import ctypes
import gzip
import os
import sys
import tempfile
import warnings

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before libgomp is loaded

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, _t_sne

from probe_ct import Samples, permuted, probe
from sprat_ct import check, done, lib, skip, why

ctypes.c_int.in_dll(lib, "verbosity").value = -1   # no progress line
FASHION = "/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz"


def digits():
    x, y = load_digits(return_X_y=True)
    order = permuted(len(x))
    return Samples([x[order]], y[order], np.arange(len(x)) >= 1200, names=True)


def fashion(n):
    with gzip.open(FASHION) as f:
        x = np.frombuffer(f.read(16 + n * 784), np.uint8, offset=16).reshape(n, 784) / 255
    return Samples([x], np.zeros(n), np.arange(n) >= n // 2)


def read(path):
    """The places in a file of lines, and its other columns."""
    with open(path) as f:
        rows = [line.rstrip("\n").split("\t") for line in f]
    return np.array([r[3:] for r in rows[1:]], float), rows[0], [r[:3] for r in rows[1:]]


def near(a, b):
    """The largest difference as a share of the largest value."""
    return abs(a - b).max() / abs(b).max()


# --- principal components ---

def test_pca(name, s, dims, folder):
    code, line = probe(f"pca:dims={dims},file={folder}/pca.tsv", s)
    if not check(f"{name}: components are found", code == 0, why()):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        p = PCA(dims, svd_solver="full").fit(s.x[0].astype(float))
    want = p.transform(s.x[0].astype(float))
    got, head, columns = read(f"{folder}/pca.tsv")
    want *= np.sign((got * want).sum(0))
    check(f"{name}: scores are scikit-learn's", got.shape == want.shape and near(got, want) < 1e-5, near(got, want))
    check(f"{name}: variances too", near(np.array(line["variance"]), p.explained_variance_) < 1e-6 and
          abs(np.array(line["explained"]) - 100 * p.explained_variance_ratio_).max() < 1e-4, line)
    check(f"{name}: the score that is largest in size is positive", (got[abs(got).argmax(0), range(dims)] > 0).all())
    return head, columns


def test_lines(s, folder):
    head, columns = test_pca("digits", s, 4, folder)
    names = [n.decode() for n in s.name]
    check("lines say name, split, label and places", head == "name split label x y z c4".split() and columns ==
          [[n, "test" if t else "train", str(l)] for n, t, l in zip(names, s.split, s.label)], columns[:2])
    first = open(f"{folder}/pca.tsv").read()
    probe(f"pca:dims=4,file={folder}/pca.tsv", s, threads=3)
    check("whatever the number of threads", open(f"{folder}/pca.tsv").read() == first)
    probe(f"pca:n=100,split=test,seed=3,file={folder}/pca.tsv", s)
    some = [c[0] for c in read(f"{folder}/pca.tsv")[2]]
    probe(f"pca:n=100,split=test,seed=4,file={folder}/pca.tsv", s)
    others = [c[0] for c in read(f"{folder}/pca.tsv")[2]]
    check("of more samples a choice by seed", len(set(some)) == 100 and set(some) <= {n for n, t in zip(names, s.split) if t}
          and some != others and some == sorted(some, key=names.index))


# --- t-SNE ---

def affinities(x, perplexity):
    """P of all pairs, from the definition."""
    d = ((x[:, None] - x) ** 2).sum(-1) if len(x) < 200 else np.maximum((x ** 2).sum(1)[:, None] + (x ** 2).sum(1)
                                                                       - 2 * x @ x.T, 0)
    np.fill_diagonal(d, np.inf)
    d -= d.min(1, keepdims=True)
    low, high = np.full(len(x), -30.), np.full(len(x), 30.)
    for _ in range(50):
        width = np.exp((low + high) / 2)
        p = np.exp(-d * width[:, None])
        p /= p.sum(1, keepdims=True)
        entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(1)
        low, high = np.where(entropy > np.log(perplexity), (low + high) / 2, low), np.where(
            entropy > np.log(perplexity), high, (low + high) / 2)
    return (p + p.T) / (2 * len(x))


def kernel(y):
    q = 1 / (1 + ((y[:, None] - y) ** 2).sum(-1))
    np.fill_diagonal(q, 0)
    return q


def divergence(p, y):
    q = kernel(y)
    q /= q.sum()
    return (p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum()


def descend(p, y, steps, rate):
    """The first steps, from the definition."""
    speed, gain = np.zeros_like(y), np.ones_like(y)
    for _ in range(steps):
        q = kernel(y)
        w = (12 * p - q / q.sum()) * q
        gradient = 4 * (w.sum(1)[:, None] * y - w @ y)
        gain = np.maximum(np.where(speed * gradient < 0, gain + .2, gain * .8), .01)
        speed = .5 * speed - rate * gain * gradient
        y = y + speed
    return y


def test_steps(folder):
    """So few samples that the nearest are all of them, and no tree."""
    x = np.random.RandomState(4).randn(60, 5) * [3, 2, 1, .5, .2]
    s = Samples([x], np.zeros(60), np.zeros(60))
    start = PCA(2).fit_transform(s.x[0].astype(float))
    start *= 1e-4 / start[:, 0].std()
    for steps, rate in ((1, 50), (10, 50), (200, 1)):
        code, _ = probe(f"tsne:perplexity=20,pca=0,theta=0,steps={steps},rate={rate},file={folder}/t.tsv", s)
        got, want = read(f"{folder}/t.tsv")[0], descend(affinities(s.x[0].astype(float), 20), start, steps, rate)
        for k in range(2):
            want[:, k] *= np.sign((got * want)[:, k].sum())
        check(f"t-SNE: {steps} steps are those of its definition", code == 0 and near(got, want) < 2e-3, near(got, want))


def test_tsne(name, s, folder):
    x, n = s.x[0].astype(float), len(s.x[0])
    code, line = probe(f"tsne:file={folder}/t.tsv", s)
    if not check(f"{name}: t-SNE ends", code == 0, why()):
        return
    y = read(f"{folder}/t.tsv")[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = TSNE(init="pca", learning_rate="auto", random_state=0, n_jobs=2)
        places = theirs.fit_transform(PCA(50).fit_transform(x).astype(np.float32))
    p = affinities(x, 30)
    ours, other = divergence(p, y), divergence(p, places)
    print(f"# {name}: {n} samples: {ours:.4f} here, {other:.4f} in scikit-learn, of all pairs; as said {line['kl']:.4f}, "
          f"{theirs.kl_divergence_:.4f}")
    check(f"{name}: the divergence of all pairs is within 5 % of scikit-learn's, or less", ours < 1.05 * other, (ours, other))
    check(f"{name}: so are those that are said", abs(line["kl"] / theirs.kl_divergence_ - 1) < .05, line)
    first = open(f"{folder}/t.tsv").read()
    probe(f"tsne:steps=300,file={folder}/t.tsv", s, threads=1)
    one = open(f"{folder}/t.tsv").read()
    probe(f"tsne:steps=300,file={folder}/t.tsv", s, threads=3)
    check(f"{name}: whatever the number of threads", open(f"{folder}/t.tsv").read() == one != first)


def test_said(s, folder):
    """What the line says is the exact divergence from scikit-learn's own sparse P."""
    some = Samples([s.x[0][:700]], s.label[:700], s.split[:700])
    _, line = probe(f"tsne:pca=0,steps=400,perplexity=10,file={folder}/t.tsv", some)
    x = some.x[0].astype(float)
    from sklearn.neighbors import NearestNeighbors
    graph = NearestNeighbors(n_neighbors=31).fit(x).kneighbors_graph(mode="distance")
    graph.data **= 2
    p = _t_sne._joint_probabilities_nn(graph, 10, 0).toarray()
    want = divergence(p, read(f"{folder}/t.tsv")[0])
    check("the divergence that is said is exact", abs(line["kl"] / want - 1) < 1e-3, (line["kl"], want))


def test_refusals(s, folder):
    few = Samples([s.x[0][:20]], s.label[:20], s.split[:20])
    same = Samples([np.ones((90, 4))], np.zeros(90), np.zeros(90))
    wide = Samples([np.random.RandomState(0).rand(4200, 4200)], np.zeros(4200), np.zeros(4200))
    for words, samples, code, said in (
            ("tsne:perplexity=30", few, 2, "perplexity of 30"), ("tsne", same, 1, "collapsed"),
            ("pca:dims=65", s, 2, "smaller dims"), ("pca:dims=30", few, 2, "20 are there"), ("pca", wide, 2, "4096"),
            ("pca:split=some", s, 2, "neither train"), ("pca:dims=1,png=x.png", s, 2, "two components"),
            ("tsne:file=/nowhere/x", s, 2, "'/nowhere/'"), ("pca:dims=2.5", s, 2, "whole"),
            (f"pca:png={folder}", s, 2, "folder")):
        got, _ = probe(f"{words}{',' if ':' in words else ':'}steps=9" if "tsne" in words else words, samples)
        check(f"{words}: refused by a sentence", got == code and said in why() and "\n" not in why(), (got, why()))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        samples = digits()
        test_lines(samples, folder)
        wide = np.random.RandomState(1).randn(70, 300) * .97 ** np.arange(300) + 5
        test_pca("fewer samples than values", Samples([wide], np.zeros(70), np.zeros(70)), 3, folder)
        test_steps(folder)
        test_tsne("digits", samples, folder)
        if os.path.isfile(FASHION):
            test_tsne("pixels of fashion", fashion(2000), folder)
        else:
            skip("pixels of fashion", "Debian's dataset-fashion-mnist is not installed")
        test_said(samples, folder)
        os.chdir(folder)
        test_refusals(samples, folder)
    done()
