"""slow_augment.py ENDPOINT train|eval - augment_peer.py as a worker whose every batch takes a quarter of a second, longer than
a link's end takes to be noticed; eval: an evaluation, its first 32 samples for training, of four classes that differ in
brightness."""
import sys
import time

import augment_peer
import numpy as np
from augment_peer import BATCH, FACTS, OFFERS

SECONDS, STEPS = 0.25, 8


def evaluate():
    """The peer's tables for one pass over all samples."""
    plain = augment_peer.make
    FACTS.update({"eval": True, "split": "all", "samples": BATCH * STEPS, "steps": STEPS, "steps_per_epoch": STEPS, "epochs": 1})
    OFFERS["split"] = ("i32", (BATCH,))

    def make(name, step):
        sample = np.arange(BATCH, dtype=np.int64) + BATCH * step
        columns = {"index": sample, "label": (sample % 4).astype("<i4"), "split": (sample >= 32).astype("<i4")}
        if name in columns:
            return columns[name]
        return plain(name, step) // 2 + (32 * (sample % 4)).astype("u1")[:, None, None, None]
    augment_peer.make = make


def main(endpoint, way):
    plain = augment_peer.batch
    if way == "eval":
        evaluate()

    def batch(want):
        time.sleep(SECONDS)
        return plain(want)
    augment_peer.batch = batch
    augment_peer.main(endpoint)


if __name__ == "__main__":
    main(*sys.argv[1:])
