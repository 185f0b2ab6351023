"""What lib/image draws for views follows torchvision 0.14's laws, by Kolmogorov-Smirnov"""
import os, sys
from scipy import stats
import torch, torchvision.transforms as T

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from check import check, done
from draws import draw

N = 20000


def laws(recipe, w, h, scale, jitter):
    """Our draws and torchvision's, by name."""
    ours, theirs = {}, {}
    draws = [draw(recipe, 224, 0, w, h, seed=11, sample=k) for k in range(N)]
    ours["crop area"] = [d.crop[2] * d.crop[3] for d in draws]
    ours["crop ratio"] = [d.crop[2] / d.crop[3] for d in draws]
    ours["crop left"] = [d.crop[0] for d in draws]
    ours["crop top"] = [d.crop[1] for d in draws]
    for k, name in enumerate(("brightness", "contrast", "saturation", "hue")):
        ours[name] = [d.factor[k] for d in draws]
        ours[f"place of {name}"] = [list(d.order).index(k) for d in draws]
    torch.manual_seed(0)
    image = torch.zeros(3, h, w)
    crops = [T.RandomResizedCrop.get_params(image, scale, [3 / 4, 4 / 3]) for _ in range(N)]
    theirs["crop area"] = [c[2] * c[3] for c in crops]
    theirs["crop ratio"] = [c[3] / c[2] for c in crops]
    theirs["crop left"] = [c[1] for c in crops]
    theirs["crop top"] = [c[0] for c in crops]
    cj = T.ColorJitter(*jitter)
    params = [T.ColorJitter.get_params(cj.brightness, cj.contrast, cj.saturation, cj.hue) for _ in range(N)]
    for k, name in enumerate(("brightness", "contrast", "saturation", "hue")):
        theirs[name] = [p[k + 1] for p in params]
        theirs[f"place of {name}"] = [p[0].tolist().index(k) for p in params]
    return draws, ours, theirs


def check_laws(recipe, w, h, scale, jitter, p):
    draws, ours, theirs = laws(recipe, w, h, scale, jitter)
    low = {k: q for k in ours if (q := stats.ks_2samp(ours[k], theirs[k]).pvalue) <= 0.001}
    check(f"{recipe}: {len(ours)} distributions are torchvision's, {w}x{h}", not low,
          " ".join(f"{k} p={q:.2g}" for k, q in low.items()))
    wrong = [k for k, want in p.items()
             if stats.binomtest(sum(bool(getattr(d, k)) for d in draws), N, want).pvalue <= 0.001]
    check(f"{recipe}: probabilities of {', '.join(p)}", not wrong, f"wrong: {wrong}")
    return ours, theirs


def main():
    ours, theirs = check_laws("mocov2", 500, 375, [.2, 1], (0.4, 0.4, 0.4, 0.1),
                              {"jitter": .8, "grey": .2, "sigma": .5, "flip": .5})
    check_laws("moco-cifar", 32, 32, [.08, 1], (0.4, 0.4, 0.4, 0.1), {"jitter": .8, "grey": .2, "flip": .5})
    check_laws("ssl-small", 200, 700, [.2, 1], (0.8, 0.8, 0.8, 0.4), {"jitter": .8, "grey": .5, "sigma": .5, "flip": .5})
    small, _ = check_laws("mocov2:scale=.05-.14", 500, 375, [.05, .14], (0.4, 0.4, 0.4, 0.1), {"jitter": .8})
    share = [a / (500 * 375) for a in small["crop area"]]
    check("scale=.05-.14: all areas are in the range, and fill it", .0495 < min(share) < .051 and .139 < max(share) < .1413,
          f"{min(share)} {max(share)}")
    wrong = [draw("mocov2:scale=0.08", 224, 0, 500, 375, seed=11, sample=k) for k in range(N)]
    p = stats.ks_2samp([d.crop[2] * d.crop[3] for d in wrong], theirs["crop area"]).pvalue
    check("a wrong law (scale .08 for .2) is noticed", p < 1e-6, f"p={p}")
    sigma = [d.sigma for d in (draw("mocov2:blur=1", 224, 0, 9, 9, sample=k) for k in range(N))]
    p = stats.kstest(sigma, stats.uniform(0.1, 1.9).cdf).pvalue
    check("the blur's sigma is uniform from .1 to 2", p > 0.001, f"p={p}")
    odd = [draw("byol", 224, 1, 50, 50, sample=k) for k in range(N)]
    b, s = sum(d.sigma > 0 for d in odd) / N, sum(d.solarise for d in odd) / N
    check("byol's second view: blur .1, solarise .2", abs(b - .1) < .01 and abs(s - .2) < .01, f"{b} {s}")
    done()


main()
