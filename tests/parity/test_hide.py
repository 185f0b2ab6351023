"""What is hidden of views: its laws, and the bytes that come of it."""
import os, shutil, sys
import numpy as np
from scipy import stats

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(here, ".."), os.path.join(here, "..", "unit")]
from check import check, done
from draws import draw
from hidden_views import drawn, same_bytes, wrong_bytes
from sets import Batches, jpeg, root, write

MEANS = {"mocov2": (124, 116, 104), "moco-cifar": (125, 123, 114)}      # 255 times ImageNet's and CIFAR's, to the nearest byte


def bits(d):
    return np.array([d.hidden[i // 64] >> i % 64 & 1 for i in range(256)])


def grid_laws(n=8000):
    """Shi et al. 2022: a grid of none, 14, 28 or 56 pixels at 224, each cell hidden with probability .5."""
    draws = [draw("mocov2:hide=.5", 224, 0, 50, 40, seed=3, sample=k) for k in range(n)]
    grids = [sum(d.cells and 224 // d.cells == g for d in draws) for g in (14, 28, 56)]
    grids.append(sum(d.cells == 0 for d in draws))
    check("hide: no grid, or one of 14, 28, 56 pixels, alike often", sum(grids) == n and stats.chisquare(grids).pvalue > .001,
          grids)
    check("hide: nothing is hidden beyond the grid", all(not bits(d)[d.cells ** 2:].any() for d in draws))
    for p in (.5, .1):
        cells = np.array([bits(d) for d in (draw(f"mocov2:hide={p}", 224, 0, 50, 40, seed=3, sample=k) for k in range(n))
                          if d.cells == 16])
        check(f"hide={p}: each cell with this probability", stats.binomtest(int(cells.sum()), cells.size, p).pvalue > .001
              and abs(cells.mean(0) - p).max() < .06, f"{cells.mean()} {cells.mean(0).min()} {cells.mean(0).max()}")
    counts = cells.sum(1)
    check("hide: cells are drawn apart", abs(counts.var() / (256 * .1 * .9) - 1) < .2, counts.var())
    plain = [draw("mocov2", 224, 0, 50, 40, seed=3, sample=k) for k in range(200)]
    check("hide leaves all other draws alone", [drawn(d) for d in plain] == [drawn(d) for d in draws[:200]])
    check("without it nothing is hidden", not any(d.cells or bits(d).any() for d in plain))
    other = [draw("mocov2:hide=.5", 224, 1, 50, 40, seed=3, sample=k) for k in range(50)]
    check("views are hidden apart", sum((bits(a) != bits(b)).any() for a, b in zip(draws, other)) > 35)


def main():
    grid_laws()
    members = {f"c/{i:02d}.jpg": jpeg(140 - 7 * i, 60 + 5 * i, quality=90) for i in range(16)}
    folder = write("photos", members)
    for recipe, size in (("mocov2:hide=.5", 48), ("mocov2:hide=.3", 37), ("moco-cifar:hide=1", 32), ("mocov2:hide=.5", 3)):
        wrong, draws = wrong_bytes(folder, members, recipe, size)
        hidden = sum(d.cells > 0 and tuple(d.fill) == MEANS[recipe.partition(":")[0]] for d in draws)
        check(f"{recipe} of {size} pixels: views are as drawn, with the recipe's mean", wrong == 0 and hidden > 5,
              f"{wrong} {hidden}")
    check("hide: what changes a byte", same_bytes(folder, dict(recipe="mocov2:hide=.5"), 2) == [])
    spelled = lambda r: Batches(folder, recipe=r).text("recipe")
    check("a recipe that hides nothing is spelled as ever", spelled("mocov2:hide=0") == spelled("mocov2") and "hide" not in
          spelled("mocov2") and spelled("mocov2:hide=.25") == spelled("mocov2") + ",hide=0.25", spelled("mocov2:hide=.25"))


try:
    main()
finally:
    shutil.rmtree(root)
done()
