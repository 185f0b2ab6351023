"""pillow_view.py - what Pillow and torchvision make of a picture by what lib/image drew for a view (draws.py)"""
import io
import numpy as np
from PIL import Image, ImageFilter, ImageOps
import torchvision.transforms.functional as F


def hide(a, d):
    """Hide-and-Seek on the (size, size, 3) view, cell by cell."""
    edges = [i * a.shape[0] // d.cells for i in range(d.cells + 1)] if d.cells else [0]
    for row in range(d.cells):
        for column in range(d.cells):
            at = row * d.cells + column
            if d.hidden[at // 64] >> at % 64 & 1:
                a[edges[row]:edges[row + 1], edges[column]:edges[column + 1]] = list(d.fill)
    return a


def shown_by(d, partner):
    """Which pixels of the (size, size) view have their centres in the other view's crop."""
    x, y, w, h = d.crop
    left, top, width, height = partner.crop
    columns = x + (np.arange(d.out[0]) + .5) * w / d.out[0]
    rows = y + (np.arange(d.out[1]) + .5) * h / d.out[1]
    inside = ((rows >= top) & (rows < top + height))[:, None] & ((columns >= left) & (columns < left + width))
    return inside[:, ::-1] if d.flip else inside


def apply_in_pillow(data, d, partner=None):
    """The drawn view, by the PyTorch code of the papers: torchvision's functions on a PIL image. partner: the draw of the view
    whose part is hidden, where it is."""
    i = Image.open(io.BytesIO(data)).convert("RGB")
    x, y, w, h = d.crop
    i = i.crop((x, y, x + w, y + h)).resize(tuple(d.out), Image.BICUBIC if d.bicubic else Image.BILINEAR)
    x, y, w, h = d.part
    i = i.crop((x, y, x + w, y + h))
    steps = [F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue]
    for k in d.order if d.jitter else ():
        i = steps[k](i, d.factor[k])
    if d.grey:
        i = F.rgb_to_grayscale(i, 3)
    if d.sigma > 0:
        i = i.filter(ImageFilter.GaussianBlur(d.sigma))
    if d.solarise:
        i = ImageOps.solarize(i, 128)
    a = hide(np.array(F.hflip(i) if d.flip else i), d)
    if partner and d.shared[2] * d.shared[3] > 0:
        a[shown_by(d, partner)] = list(d.fill)
    return a
