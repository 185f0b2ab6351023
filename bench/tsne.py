"""tsne - times scikit-learn's t-SNE of random features in groups: probe tsne's yardstick

    tsne.py SAMPLES DIM

A JSON line a run: ms for 1000 steps at perplexity 30 on all processors; kl, the divergence that it says is left.
"""
import json
import os
import sys
import time
import warnings

import numpy as np
from sklearn.manifold import TSNE

n, dim = map(int, sys.argv[1:])
rng = np.random.RandomState(0)
x = (rng.randn(n, dim) + 2 * rng.randn(10, dim)[np.arange(n) % 10]).astype(np.float32)
warnings.simplefilter("ignore")
while True:
    start = time.monotonic()
    t = TSNE(init="pca", learning_rate="auto", n_jobs=len(os.sched_getaffinity(0))).fit(x)
    print(json.dumps({"ms": 1000 * (time.monotonic() - start), "kl": float(t.kl_divergence_)}), flush=True)
