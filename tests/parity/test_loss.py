"""moco at its sizes, its queue and its memory, the rule of collapse; what every loss keeps is in test_losses.py"""
import os
import subprocess
import sys

import numpy as np

from loss_ct import Objective
from sprat_ct import check, done, lib, ptr, relative, why

torch = None  # imported where it is needed: the memory test measures a process without it



def embeddings(rng, needs, rows, dim, likeness=0.5):
    """Rows of different lengths; the inputs of one row point roughly the same way."""
    common = rng.standard_normal((rows, dim))
    return [((likeness * common + rng.standard_normal((rows, dim))) * rng.uniform(0.2, 5, (rows, 1))).astype(np.float32)
            for _ in needs]


# --- MoCo ---

def infonce(q, k, queue, t, share=1.0):
    """(value, gradient for q, top1, top5) by PyTorch in float64."""
    q = torch.tensor(q, dtype=torch.float64, requires_grad=True)
    u = torch.nn.functional.normalize(q)
    v = torch.nn.functional.normalize(torch.tensor(k, dtype=torch.float64))
    logits = torch.cat([(u * v).sum(1, keepdim=True), u @ torch.tensor(queue, dtype=torch.float64).T], 1) / t
    loss = torch.nn.functional.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long)) * share
    loss.backward()
    rank = (logits[:, 1:] > logits[:, :1]).sum(1)
    return loss.item(), q.grad.numpy(), 100 * (rank < 1).double().mean().item(), 100 * (rank < 5).double().mean().item()


def test_moco(rows, size, dim, t, likeness):
    o = Objective(f"moco:t={t},k={size}", rows, dim)
    rng = np.random.default_rng(rows)
    title = f"moco N={rows} K={size} dim={dim} t={t}"
    worst, ranks = 0, True
    for step in range(2):  # the second against a queue that holds the first keys
        q, k = embeddings(rng, o.needs, rows, dim, likeness)
        before = o.queue()
        o.step([q, k], step)
        loss, gradient, top1, top5 = infonce(q, k, before, t)
        worst = max(worst, abs(o["loss"] - loss) / max(1, loss), relative(o.gradient(0), gradient))
        ranks &= abs(o["top1"] - top1) <= 100.01 / rows and abs(o["top5"] - top5) <= 100.01 / rows
    check(f"{title}: value and gradient within 1e-5 of PyTorch in float64", worst < 1e-5, f"off by {worst:.2e}")
    check(f"{title}: top-1 and top-5", ranks, f"{o['top1']} {o['top5']}, not {top1} {top5}")
    check(f"{title}: expected value", abs(lib.shim_objective_expected(o.handle) - np.log(size + 1)) < 1e-12)


def test_symmetric():
    rows, size, dim, t = 24, 480, 16, 0.2
    o = Objective(f"moco:t={t},k={size},sym=1", rows, dim)
    x = dict(zip(o.needs, embeddings(np.random.default_rng(5), o.needs, rows, dim)))
    before = o.queue()
    check("symmetric moco asks for both views of both", sorted(o.needs) == ["k0", "k1", "q0", "q1"], str(o.needs))
    o.step([x[n] for n in o.needs])
    a, b = infonce(x["q0"], x["k1"], before, t, 0.5), infonce(x["q1"], x["k0"], before, t, 0.5)
    check("symmetric moco: mean of both directions", abs(o["loss"] - a[0] - b[0]) < 1e-5, f"{o['loss']} {a[0] + b[0]}")
    check("symmetric moco: gradients of both", relative(o.gradient(0), a[1]) < 1e-5 and relative(o.gradient(1), b[1]) < 1e-5)
    keys = np.concatenate([x["k0"], x["k1"]])
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    after = o.queue()
    check("symmetric moco: both batches of keys enter after use", np.allclose(after[:2 * rows], keys, atol=1e-6)
          and np.array_equal(after[2 * rows:], before[2 * rows:]))


def test_queue():
    rows, size, dim = 16, 64, 32
    o = Objective(f"moco:k={size}", rows, dim)
    rng = np.random.default_rng(3)
    first = o.queue()
    check("the first queue is of unit rows", np.allclose(np.linalg.norm(first, axis=1), 1, atol=1e-6))
    check("the first queue is spread evenly", np.abs(first.mean(0)).max() < 5 / np.sqrt(size * dim))
    check("the first queue depends on the seed alone", np.array_equal(first, Objective(f"moco:k={size}", rows, dim, 1, 1).queue())
          and not np.array_equal(first, Objective(f"moco:k={size}", rows, dim, 2).queue()))
    seen = []
    for step in range(6):
        x = embeddings(rng, o.needs, rows, dim)
        o.step(x, step)
        seen.append(x[1] / np.linalg.norm(x[1], axis=1, keepdims=True))
    order = [seen[4], seen[5], seen[2], seen[3]]
    check("the queue goes round", np.allclose(o.queue(), np.concatenate(order), atol=1e-6))
    check("a queue that is no multiple is refused by the nearest", Objective("moco:k=1000", 256, 8).handle is None
          and "k=1024" in why(), why())


def test_refusals():
    o = Objective("moco:k=40", 4, 6)
    x = embeddings(np.random.default_rng(1), o.needs, 4, 6)
    x[0][1, 2] = np.nan
    check("a value that is not finite is refused with its step", o.step(x, 17) < 0 and "step 18" in why() and "q0" in why(),
          why())
    other = Objective("moco:k=80", 4, 6)
    check("a state of another size is refused", lib.shim_objective_copy_state(other.handle, o.handle) < 0
          and "loss.queue" in why(), why())


def test_collapse():
    def first(std, dim=128):
        std = np.ascontiguousarray(std, np.float64)
        return lib.shim_collapse_step(ptr(std), len(std), dim)
    isotropic = 1 / np.sqrt(128)
    falling = isotropic * 0.5 ** np.arange(50)
    rising = isotropic * np.minimum(0.9, 0.01 * 1.05 ** np.arange(300))
    check("a feature std that dies is called a collapse within 50 steps", 0 < first(falling) < 50, str(first(falling)))
    check("a low std that climbs is not", first(rising) == -1, str(first(rising)))
    check("a healthy std is not", first(np.full(1000, 0.8 * isotropic)) == -1)
    check("nor a small network's first dip", first(np.full(200, 0.07 * isotropic)) == -1)


def test_memory():
    """Peak resident set of one step at N=4096, K=65536 above the queue, in a process that has nothing else."""
    code = ("import resource, numpy as np, test_loss\n"
            "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "rng = np.random.default_rng(0)\n"
            "x = [rng.standard_normal((4096, 128), np.float32) for _ in range(2)]\n"
            "before = peak()\n"
            "o = test_loss.Objective('moco:k=65536', 4096, 128)\n"
            "o.step(x)\n"
            "print((peak() - before) / 1024 - 65536 * 128 * 4 / 2**20)\n")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                         cwd=os.path.dirname(os.path.abspath(__file__)))
    above = float(run.stdout) if run.returncode == 0 else float("inf")
    check("moco N=4096 K=65536 works in 200 MB above its queue", above < 200, f"{above:.0f} MB {run.stderr[-300:]}")


if __name__ == "__main__":
    test_memory()
    import torch
    test_moco(256, 65536, 128, 0.1, 0.4)
    test_moco(37, 1036, 20, 0.05, 0.8)
    test_moco(130, 260, 3, 0.2, 0.0)
    test_moco(1, 1, 8, 1.0, 0.5)
    test_symmetric()
    test_queue()
    test_refusals()
    test_collapse()
    sys.exit(done())
