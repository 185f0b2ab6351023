"""Views of several sizes: what is served is each view's draw by a law of its own, as Pillow applies it."""
import ctypes as C, io, os, shutil, sys
import numpy as np
from PIL import Image

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(here, ".."), os.path.join(here, "..", "unit")]
from check import check, done
from draws import Draw, draw, lib
from pillow_view import apply_in_pillow
from sets import Batches, jpeg, root, write

FULL, SMALL, VIEWS, CROPS = 48, 20, 2, 4
SIZES = [FULL] * VIEWS + [SMALL] * CROPS

# recipe, crops, the law of every crop spelled as a recipe; a byol that says what its odd views are has no others
CASES = (("mocov2", "", "mocov2:scale=.05-.14"), ("mocov2:scale=.14", ":blur=1", "mocov2:scale=.05-.14,blur=1"),
         ("byol", ":scale=.2-.3", "byol:scale=.2-.3,blur=1,solarise=0"),
         ("simclr:bicubic=1", ":grey=1", "simclr:bicubic=1,scale=.05-.14,grey=1"))


def wrong_bytes(folder, members, recipe, crops, law):
    """Views that differ from Pillow's: (view, sample)."""
    b, names, wrong = Batches(folder, recipe=recipe, crops=f"{CROPS}x{SMALL}{crops}", size=FULL, seed=5), sorted(members), []
    index = b.make(1, "index")[1]
    for v, size in enumerate(SIZES):
        n, pixels = b.make(1, f"view{v}")
        ours = np.frombuffer(pixels, np.uint8)[:n * size * size * 3].reshape(n, size, size, 3)
        for row, sample in enumerate(index):
            data = members[names[sample]]
            w, h = Image.open(io.BytesIO(data)).size
            d = draw(recipe if v < VIEWS else law, size, v, w, h, seed=5, epoch=0, sample=int(sample))
            if (ours[row] != apply_in_pillow(data, d)).any():
                wrong.append((v, int(sample)))
    return wrong


def areas(folder, epochs=300):
    """Shares of the area that the views take of the first sample: (epochs, views)."""
    b, d, wh = Batches(folder, recipe="mocov2", crops=f"{CROPS}x{SMALL}"), (Draw * 16)(), (C.c_int * 2)()
    shares = []
    for epoch in range(epochs):
        lib.maker_draws(C.c_void_p(b.p), 0, epoch, d, wh)
        shares.append([d[v].crop[2] * d[v].crop[3] / (wh[0] * wh[1]) for v in range(len(SIZES))])
    return np.array(shares)


def main():
    members = {f"c/{i:02d}.jpg": jpeg(240 - 7 * i, 160 + 5 * i, quality=90) for i in range(16)}
    folder = write("photos", members)
    for recipe, crops, law in CASES:
        wrong = wrong_bytes(folder, members, recipe, crops, law)
        check(f"{recipe} with crops{crops}: all views are Pillow's", not wrong, wrong[:8])
    wrong = wrong_bytes(folder, members, "mocov2", "", "mocov2:scale=.05-.15")
    check("a law that is a little wider is noticed, in every crop", {v for v, _ in wrong} == {2, 3, 4, 5}, wrong)
    shares = areas(folder)
    full, small = shares[:, :VIEWS], shares[:, VIEWS:]
    check("full views take .2 to 1 of the area", .195 < full.min() < .25 and .85 < full.max() <= 1, f"{full.min()} {full.max()}")
    check("every crop takes .05 to .14", .048 < small.min() and small.max() < .143 and (small.min(0) < .055).all()
          and (small.max(0) > .135).all(), f"{small.min(0)} {small.max(0)}")
    check("and they are drawn apart", np.abs(np.corrcoef(small.T) - np.eye(CROPS)).max() < .25, np.corrcoef(small.T))


try:
    main()
finally:
    shutil.rmtree(root)
done()
