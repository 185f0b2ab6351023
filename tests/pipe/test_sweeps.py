"""test_sweeps - every ablation at its quick size, as a user starts it: a student a value, measured and drawn; the same line again
trains nothing"""
import glob
import math
import os
import sys

from PIL import Image
from lines import check, done, folder, images, safetensors
from test_methods import COUNT, SWEEPS, run, teacher

# of those that have no quick values of their own
VALUES = {"ablate-temperature": ".1 .5", "ablate-head": "linear wide", "compare-students": "seed simreg"}


def test_sweep(d, name, weights):
    taught = "TEACHER" in run(d, name).stderr
    more = {"holdout": "24", "each": "4"}
    if name in VALUES:
        more["values"] = VALUES[name]
    arguments = ["--quick", "data", name] + [weights] * taught
    first = run(d, name, *arguments, **more)
    table = [line.split("\t") for line in open(f"{d}/{name}/table.tsv").read().splitlines()] if first.returncode == 0 else []
    numbers = [float(x) for row in table for x in row[1:]]
    check(f"{name}: a row a value, with numbers", len(table) >= 2 and len(numbers) == 4 * len(table)
          and all(map(math.isfinite, numbers)), f"{table} {first.stderr}")
    check(f"{name}: says first what it costs", "each alone about 0.00" in first.stderr, first.stderr)
    if not table:
        return
    picture = Image.open(f"{d}/{name}/{name}.png")
    check(f"{name}: a picture that is not empty", picture.size[0] > 800 and len(picture.convert("RGB").getcolors(1 << 20)) > 20)
    models = [f"{d}/{name}/{row[0]}/model.safetensors" for row in table]
    bytes = [{n: a.tobytes() for n, a in safetensors(m)[0].items()} for m in models]
    check(f"{name}: the students differ", all(a != b for a, b in zip(bytes, bytes[1:])))
    if name == "compare-students":
        run(d, "seed", "--quick", "data", "alone", weights, holdout="24")
        alone = {n: a.tobytes() for n, a in safetensors(f"{d}/alone/model.safetensors")[0].items()}
        check(f"{name}: a student is the one that its pipeline makes alone", alone == bytes[0])
    if name != SWEEPS[0]:    # what follows is sweep's, and the same for all
        return
    times = [os.path.getmtime(m) for m in models]
    again = run(d, name, *arguments, **more)
    check(f"{name}: the same line again trains nothing", again.returncode == 0 and times == [os.path.getmtime(m) for m in models],
          again.stderr)


def test_study(d):
    """Rows that build on others: a teacher, and a student of it; measured, and not done again."""
    names = sorted(os.path.relpath(p, f"{d}/data") for p in glob.glob(f"{d}/data/*/*.png"))
    with open(f"{d}/holdout", "w") as f:
        f.write("".join(f"{n}\n" for n in names[::5]))
    rows, more = ["teacher-0", "compress-0"], {"epochs": "1", "batch": "32", "queue": "64"}
    first = run(d, "study", "data", "holdout", "study", *rows, **more)
    table = open(f"{d}/study/table.tsv").read()
    check("study: a row a method, with numbers", first.returncode == 0 and [r.split("\t")[0] for r in table.splitlines()] == rows
          and len([float(x) for r in table.splitlines() for x in r.split("\t")[1:]]) == 10, f"{table} {first.stderr}")
    again = run(d, "study", "data", "holdout", "study", *rows, **more)
    check("study: the same line again does nothing", again.returncode == 0 and not again.stderr
          and open(f"{d}/study/table.tsv").read() == table, again.stderr)


def main():
    with folder() as d:
        images(f"{d}/data", COUNT + 24)
        weights = teacher(d)
        check("there are sweeps", len(SWEEPS) >= 6, SWEEPS)
        for name in SWEEPS:
            test_sweep(d, name, weights)
        test_study(d)
    done()


if __name__ == "__main__":
    sys.exit(main())
