"""augment --like: an evaluation that repeats nothing of the training line, and what is said when it cannot be repeated."""
import json
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "pipe"))
import lines
from lines import Line, check, content, folder, images, safetensors

AUGMENT = ["augment", "-q", "-j1", "--size", "32", "--recipe", "moco-cifar:bicubic=1", "--mean", "0.5,0.4,0.3", "--exif",
           "--batch", "16", "--epochs", "1"]
LOSS = ["loss", "-q", "-j1", "moco:k=64"]
EXPLICIT = ["--size", "32", "--recipe", "eval:bicubic=1", "--mean", "0.5,0.4,0.3", "--std", "0.2023,0.1994,0.2010", "--exif"]


def train(d, out, *words):
    line = Line(AUGMENT + list(words) + ["data"],
                ["encode", "-q", "-j1", "-a", "mobilenet_v3_small", "--small", "--dim", "8", "-o", out], LOSS, cwd=d).wait(60)
    check(f"a run with {' '.join(words) or 'nothing'}", line.code == 0, line.stderr)
    return f"{d}/{out}/model.safetensors"


def evaluate(cwd, model, data, *words, task="knn:k=5"):
    """(probe's row or None, stderr, status): -q only where notes are not wanted."""
    line = Line(["augment", "-j1", "--eval", "--batch", "16", *words, data], ["encode", "-q", "-j1", "--eval", "-w", model],
                ["probe", "-q", "-j1", task], cwd=cwd).wait(30)
    rows = lines.json_lines(line.stdout)
    return (rows[0] if rows else None), line.stderr, line.code


def test_same(d, model, spec):
    """From another folder, --like is the whole line given by hand, to the last feature."""
    other = f"{d}/elsewhere"
    os.makedirs(other, exist_ok=True)
    files = []
    for words in (["--like", model], EXPLICIT + spec):
        row, said, code = evaluate(other, model, f"{d}/data", *words, task=f"export:file=f{len(files)}.safetensors")
        check(f"evaluated with {' '.join(w for w in words if w[0] == '-')}", code == 0, said)
        files.append(f"{other}/f{len(files)}.safetensors")
    a, b = (safetensors(f)[0] for f in files)
    differ = [k for k in a if k not in b or a[k].tobytes() != b[k].tobytes()]
    check(f"--like after {' '.join(spec[:1])}: features, splits and labels of the line by hand", not differ and set(a) == set(b),
          differ)


def test_data(d, model):
    shutil.copytree(f"{d}/data", f"{d}/grown")
    shutil.copy(f"{d}/grown/class0/0000.png", f"{d}/grown/class0/more.png")
    row, said, code = evaluate(d, model, "grown", "--like", model)
    check("other data: the hold-out is not taken, and that is said", row is None and "other data" in said and "--holdout" in said
          and code == 2, f"{code} {said}")
    row, said, code = evaluate(d, model, "grown", "--like", model, "--holdout", "9")
    check("other data: a hold-out given", code == 0 and row["test"] == 9, f"{row} {said}")
    row, said, code = evaluate(d, model, "data", "--like", model, "--holdout", "5")
    check("what is given wins", code == 0 and row["test"] == 5, f"{row} {said}")
    row, said, code = evaluate(d, model, "data", "--like", model, "--size", "40")
    check("a size that is given wins, and encode names the mismatch", code == 2 and "--size 32" in said and "--mean" not in said,
          said)


def test_lost(d, model):
    os.rename(f"{d}/held.txt", f"{d}/kept.txt")
    row, said, code = evaluate(d, model, "data", "--like", model)
    check("the list is gone: one sentence names it", row is None and code == 1 and said.count("\n") == 1 and "held.txt" in said
          and "give --holdout" in said, said)
    with open(f"{d}/held.txt", "w") as f:
        f.write("class0/0000.png\n")
    row, said, code = evaluate(d, model, "data", "--like", model)
    check("the list has changed: one sentence names it", row is None and code == 1 and said.count("\n") == 1
          and "held.txt" in said and "give --holdout" in said, said)
    os.rename(f"{d}/kept.txt", f"{d}/held.txt")


def test_mismatch(d, model):
    row, said, code = evaluate(d, model, "data")
    wanted = ["--size 32", "--mean 0.5,0.4,0.3", "--std 0.2023,0.1994,0.201", "--exif",
              f"--holdout {os.path.realpath(d)}/held.txt", f"--like {model}"]
    check("a mismatch names all options in one sentence", code == 2 and said.count("\n") == 1 and all(w in said for w in wanted),
          said)
    row, said, code = evaluate(d, f"{d}/file/checkpoint.safetensors", "data")
    check("a checkpoint tells the same", code == 2 and said.count("\n") == 1 and all(w in said for w in wanted[:-1]), said)
    wanted = [w.split() for w in wanted[:5]]
    row, said, code = evaluate(d, model, "data", *[w for pair in wanted for w in pair])
    check("with the options that it names the line works", code == 0 and row["test"] == 3, f"{row} {said}")


def with_fact(model, path, name, text):
    """The same model, whose run had one more fact."""
    raw = content(model)
    n = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:8 + n])
    header["__metadata__"][f"fact.{name}"] = text
    header = json.dumps(header).encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as f:
        f.write(len(header).to_bytes(8, "little") + header + raw[8 + n:])


def test_crops(d, model):
    """Of a model that was trained with crops: an evaluation has none, what is no evaluation has them."""
    multi, views = f"{d}/multi.safetensors", "2 views of 32 pixels each"
    with_fact(model, multi, "crops", "3x16:scale=0.05-0.14,hue=0")
    rows = [evaluate(d, m, "data", "--like", m) for m in (model, multi)]
    check("--like a model with crops evaluates as without", rows[1][2] == 0 and rows[0][0] is not None and
          {**rows[0][0], "seconds": 0} == {**rows[1][0], "seconds": 0}, rows)
    for words, said in ((["--like", multi], f"; {views}, 3 of 16; "),
                        (["--like", multi, "--crops", "1x8"], f"; {views}, 1 of 8; "),
                        (["--like", multi, "--crops", ""], f"; {views}; "), (["--like", model], f"; {views}; ")):
        r = subprocess.run([f"{lines.BIN}/augment", "-q", "-j1", "--batch", "16", "--dry-run", *words, "data"], cwd=d,
                           capture_output=True, text=True)
        check(f"{' '.join(words[2:]) or 'nothing'} beside --like {os.path.basename(words[1])}: {said.strip('; ')}",
              said in r.stdout, r.stdout + r.stderr)


def test_wrong(d, model):
    blank = f"{d}/blank.safetensors"
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    with open(blank, "wb") as f:
        f.write(len(header).to_bytes(8, "little") + header + bytes(4))
    for name, like, status, word in (("no file", "nowhere", 1, "No such file"), ("a folder", "file", 1, "model.safetensors"),
                                     ("no model", "held.txt", 1, "held.txt"), ("a model that says nothing", blank, 2, "--size")):
        row, said, code = evaluate(d, model, "data", "--like", like)
        check(f"--like {name}: one sentence", row is None and code == status and said.startswith("augment: ")
              and said.count("\n") == 1 and word in said, f"{code} {said}")


if __name__ == "__main__":
    with folder() as d:
        images(f"{d}/data", 48)
        with open(f"{d}/held.txt", "w") as f:
            f.write("class0/0000.png\r\nclass1/0001.png\r\nclass2/0002.png\r\n")
        with open(f"{d}/labels.tsv", "w") as f:
            f.writelines(f"class{i % 3}/{i:04d}.png\t{'ab'[i % 2]}\n" for i in range(48))
        by_file = train(d, "file", "--holdout", "held.txt")
        by_number = train(d, "number", "--holdout", "7", "--labels", "labels.tsv")
        test_same(d, by_file, ["--holdout", f"{d}/held.txt"])
        test_same(d, by_number, ["--holdout", "7", "--labels", f"{d}/labels.tsv"])
        test_data(d, by_file)
        test_lost(d, by_file)
        test_mismatch(d, by_file)
        test_crops(d, by_file)
        test_wrong(d, by_file)
    lines.done()
