"""hidden_views.py - for tests of pairs and of what is hidden: what was drawn, what is served, what changes it"""
import io, os, sys
import numpy as np
from PIL import Image

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(here, ".."), os.path.join(here, "..", "unit")]
from draws import draw
from pillow_view import apply_in_pillow
from sets import Batches


def drawn(d):
    """All that a draw says but for what is hidden."""
    return (list(d.crop), list(d.out), list(d.part), d.bicubic, d.jitter, d.grey, d.solarise, d.flip, list(d.order),
            list(d.factor), d.sigma)


def wrong_bytes(folder, members, recipe, size, views=2):
    """How many views differ from what Pillow and NumPy make of their draws; all draws."""
    b, names, wrong, draws = Batches(folder, recipe=recipe, size=size, views=views, seed=5), sorted(members), 0, []
    index = b.make(1, "index")[1]
    for v in range(views):
        n, pixels = b.make(1, f"view{v}")
        ours = np.frombuffer(pixels, np.uint8)[:n * size * size * 3].reshape(n, size, size, 3)
        for row, sample in enumerate(index):
            data = members[names[sample]]
            w, h = Image.open(io.BytesIO(data)).size
            d, partner = (draw(recipe, size, i, w, h, seed=5, epoch=0, sample=int(sample)) for i in (v, v ^ 1))
            wrong += (ours[row] != apply_in_pillow(data, d, partner)).any()
            draws.append(d)
    return wrong, draws


def same_bytes(folder, words, views, made=0):
    """What changes a byte that should not; made: views where there are others than those of full size."""
    made = made or views
    make = lambda b: [b.make(s, f"view{v}") for s in (0, 2) for v in range(made)]
    base = make(Batches(folder, size=24, views=views, **words))
    others = {"one thread": dict(threads=1), "five threads": dict(threads=5), "a cache": dict(cache=1 << 30)}
    wrong = [k for k, o in others.items() if make(Batches(folder, size=24, views=views, **words, **o)) != base]
    b, each = Batches(folder, size=24, views=views, **words), 24 * 24 * 3
    for at, (s, v) in enumerate((s, v) for s in (2, 0) for v in reversed(range(made))):
        parts = [b.make(s, f"view{v}", p, 3) for p in (2, 0, 1)]
        whole = b"".join(d[:n * each] for n, d in parts[1:] + parts[:1])
        if whole != b.make(s, f"view{v}")[1][:8 * each] or b.make(s, f"view{v}") not in base:
            wrong.append(f"parts {s} {v}")
    return wrong
