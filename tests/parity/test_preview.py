"""The sheet of --preview: its pictures are the views that are served, and what stands below them is what was drawn, read back
from the pixels."""
import ctypes as C, os, subprocess, sys, tempfile
import numpy as np
from PIL import Image

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from check import check, done
from draws import Draw, lib

lib.set_open.restype = lib.batches_new.restype = C.c_void_p
lib.batches_make.restype = C.c_int64
lib.dataset_name.restype = C.c_char_p
BIN = os.environ.get("BIN", "bin")
CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,-+/_:= "


def line(text):
    a = np.full((9, 6 * len(text), 3), 255, np.uint8)
    lib.text_line(a.ctypes.data_as(C.c_void_p), a.shape[1], 9, text.encode())
    return a


def read(pixels, letters):
    """(9 n, w, 3) pixels -> n lines of text."""
    rows = [pixels[y:y + 9] for y in range(0, pixels.shape[0] - 8, 9)]
    return ["".join(letters.get(r[:, x:x + 6].tobytes(), "#") for x in range(0, r.shape[1] - 5, 6)).rstrip() for r in rows]


def words(d):
    names = ("BRIGHT", "CONTRAST", "SATURATE", "HUE")
    x, y, w, h = d.crop
    lines = [f"{w}X{h}+{x}+{y}"] + [f"{names[k]} {d.factor[k]:.3f}" for k in d.order if d.jitter]
    marks = " ".join(m for m, on in (("GREY", d.grey), ("SOLAR", d.solarise), ("FLIP", d.flip)) if on)
    lines += [marks] * bool(marks) + [f"BLUR {d.sigma:.2f}"] * (d.sigma > 0)
    lines += [f"HIDE 1/{d.cells}"] * (d.cells > 0)
    lines += [f"IOU {d.iou:.3f}" + " DROP" * (d.shared[2] > 0)] * (d.pairing > 0)
    return lines + [""] * (10 - len(lines))


def mixed_words(m, sample, view, mix):
    draws = (Draw * 16)()
    lib.maker_draws(m, int(sample), 0, draws, (C.c_int * 2)())
    x, y, w, h = draws[view].cut
    return [f"MIX {mix} {draws[view].share:.3f}", f"{w}X{h}+{x}+{y}"] + [""] * 7


def main(folder):
    letters = {line(c).tobytes(): c for c in CHARACTERS}
    check("no two letters look alike", len(letters) == len(CHARACTERS), "they do")
    check("small letters are capitals, the unknown is a question mark", (line("ab~") == line("AB?")).all(), "no")
    os.makedirs(f"{folder}/data/cat")
    rng = np.random.RandomState(2)
    for i in range(6):
        Image.fromarray(rng.randint(0, 256, (60 + 7 * i, 90 - 5 * i, 3), np.uint8)).save(f"{folder}/data/cat/photo{i}.png")
    sheet(folder, letters, "byol", 96, 3, 4)
    sheet(folder, letters, "mocov2", 128, 2, 4, 3, 24, "mocov2:scale=.05-.14")    # small ones are enlarged, beside larger ones
    sheet(folder, letters, "mocov2", 40, 1, 1, 12, 200, "mocov2:scale=.3")        # crops may be larger; a wide group is alone
    sheet(folder, letters, "ssl-small:hide=.5,drop=.6,iou=.1-.3", 96, 2, 4, more=3)   # and there is more to say
    sheet(folder, letters, "mocov2", 96, 3, 4, 2, 24, "mocov2:scale=.05-.14", mix="2+0")


def sheet(folder, letters, recipe, size, views, groups, crops=0, small=0, law="", more=0, mix=""):
    """groups: how many stand beside each other; law: of the crops, as a recipe; more: lines below a view."""
    high = 9 * (7 + more)
    path, seed = f"{folder}/sheet.png", 5
    text = f"{crops}x{small}:{law.partition(':')[2]}" if crops else ""
    full = views + bool(mix)
    name = f"{full} views of {size}" + f", {crops} of {small}" * bool(crops)
    r = subprocess.run([f"{BIN}/augment", "-j1", "--recipe", recipe, "--size", str(size), "--views", str(views), "--crops", text,
                        "--mix", mix,
                        "-s", str(seed), "--preview", path, f"{folder}/data"], capture_output=True, text=True)
    check(f"{name}: the sheet is written", r.returncode == 0 and not r.stderr, r.stderr)
    a = np.asarray(Image.open(path))
    s = C.c_void_p(lib.set_open(f"{folder}/data".encode(), b""))
    names = [lib.dataset_name(s, i).decode() for i in range(6)]
    options = (C.c_int64 * 8)(size, views, 1, seed)
    m = C.c_void_p(lib.batches_new(s, recipe.encode(), text.encode(), mix.encode(), b"", options, b"", C.c_double(0), 1))
    sizes = [size] * (full + 1) + [small] * crops
    scales = [-(-96 // n) for n in sizes]
    sides = [n * k for n, k in zip(sizes, scales)]
    lefts = [sum(sides[:k]) + 4 * k for k in range(len(sides) + 1)]
    wrong = []
    for i in range(6):
        index = np.zeros(1, np.int64)
        lib.batches_make(m, C.c_int64(i), 0, 1, b"index", index.ctypes.data_as(C.c_void_p), C.c_size_t(8))
        w, h = Image.open(f"{folder}/data/{names[index[0]]}").size
        x0, y0 = 16 + i % groups * (lefts[-1] - 4 + 16), 16 + i // groups * (max(sides) + 4 + high + 16)
        cell = lambda k: a[y0:y0 + sides[k], x0 + lefts[k]:][:, :sides[k]]
        below = lambda k: np.ascontiguousarray(a[y0 + sides[k] + 4:y0 + sides[k] + 4 + high, x0 + lefts[k]:][:, :sides[k] + 2])
        if read(below(0), letters)[:3] != [names[index[0]].upper()[-(sides[0] // 6):], f"{w}X{h}", "CAT"]:
            wrong.append((i, "original", read(below(0), letters)))
        for v, n in enumerate(sizes[1:]):
            view, d = np.zeros((n, n, 3), np.uint8), Draw()
            lib.batches_make(m, C.c_int64(i), 0, 1, f"view{v}".encode(), view.ctypes.data_as(C.c_void_p), C.c_size_t(view.nbytes))
            lib.image_draw((recipe if v < full else law).encode(), n, C.c_int64(seed), 0, int(index[0]), v, w, h, C.byref(d))
            large = view.repeat(scales[v + 1], 0).repeat(scales[v + 1], 1)
            want = (mixed_words(m, index[0], v, mix) if mix and v == views else words(d))[:7 + more]
            if (cell(v + 1) != large).any() or read(below(v + 1), letters) != want:
                wrong.append((i, v, read(below(v + 1), letters), want))
    check(f"{name}: pictures and words are what is served and drawn", not wrong, str(wrong[:2]))


with tempfile.TemporaryDirectory() as folder:
    main(folder)
done()
