"""moco.py - MoCo's loss in numpy, float64 (He et al. 2020, eq. 1), with the documented first queue of sprat

The first queue is a function of the seed alone: element d of row i is a standard normal from block (counter d, i, 0, purpose 8)
of Philox4x32-10 keyed by the seed, by Box-Muller; rows are then scaled to unit length (lib/base/rng.h, lib/loss/queue.h).
"""
import numpy as np

PURPOSE_QUEUE = 8


def philox4x32(counter, key):
    """Blocks of Philox4x32-10 (Salmon et al. 2011): counter (..., 4), key (2) -> (..., 4), all uint32 held in uint64."""
    c0, c1, c2, c3 = (counter[..., i].astype(np.uint64) for i in range(4))
    k0, k1 = np.uint64(key[0]), np.uint64(key[1])
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    for _ in range(10):
        p0, p1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (p1 >> shift) ^ c1 ^ k0, p1 & low, (p0 >> shift) ^ c3 ^ k1, p0 & low
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & low, (k1 + np.uint64(0xBB67AE85)) & low
    return np.stack([c0, c1, c2, c3], -1)


def uniform(high, low):
    """[0, 1) with 53 bits from two words."""
    return ((high >> np.uint64(5)) * 2.0**26 + (low >> np.uint64(6))) * 2.0**-53


def first_queue(seed, size, dim):
    counter = np.zeros((size, dim, 4), np.uint64)
    counter[..., 0] = np.arange(dim)
    counter[..., 1] = np.arange(size)[:, None]
    counter[..., 3] = PURPOSE_QUEUE
    word = philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32))
    u, angle = 1 - uniform(word[..., 0], word[..., 1]), 2 * np.pi * uniform(word[..., 2], word[..., 3])
    rows = (np.sqrt(-2 * np.log(u)) * np.cos(angle)).astype(np.float32).astype(np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def unit(x):
    norm = np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return x / norm, norm


class Moco:
    """step(q0, k1) -> (gradient of q0, scalars); state() -> tensors to save."""

    def __init__(self, seed, size, dim, t):
        self.queue, self.pointer, self.t = first_queue(seed, size, dim), 0, t

    def restore(self, tensors):
        self.queue, self.pointer = tensors["loss.queue"].astype(np.float64), int(tensors["loss.pointer"][0])

    def state(self):
        return {"loss.queue": self.queue.astype(np.float32), "loss.pointer": np.array([self.pointer], np.int64)}

    def step(self, q, k):
        (q, norm), (k, _) = unit(q.astype(np.float64)), unit(k.astype(np.float64))
        own = (q * k).sum(1, keepdims=True)
        logits = np.concatenate([own, q @ self.queue.T], 1) / self.t
        peak = logits.max(1, keepdims=True)
        p = np.exp(logits - peak)
        total = p.sum(1, keepdims=True)
        p /= total
        d = ((p[:, :1] - 1) * k + p[:, 1:] @ self.queue) / (self.t * len(q))
        d = (d - q * (d * q).sum(1, keepdims=True)) / norm
        rank = (logits[:, 1:] > logits[:, :1]).sum(1)
        self.queue[self.pointer:self.pointer + len(k)] = k
        self.pointer = (self.pointer + len(k)) % len(self.queue)
        return d.astype(np.float32), {"loss": float((np.log(total) + peak - logits[:, :1]).mean()),
                                      "top1": float(100 * (rank < 1).mean()), "top5": float(100 * (rank < 5).mean()),
                                      "std": float(q.std(0, ddof=1).mean())}
