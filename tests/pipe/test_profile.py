"""encode --profile: a row for each operation, rows that add up to the step, and no change in what is learnt."""
import json
import statistics
import struct

from lines import Line, check, done, folder, images, json_lines

BATCH, STEPS = 24, 24
COLUMNS = ("ms", "forward", "backward", "key", "gflops", "gb", "share", "bound", "ratio")


def run(d, out, *options):
    return Line(["augment", "-q", "-r", "moco-cifar", "--size", "32", "-b", str(BATCH), "-e", str(STEPS // 2), "data"],
                ["encode", "-q", "-a", "mobilenet_v3_small", "--small", "-o", out, *options], ["loss", "moco:k=480"],
                cwd=d).wait(240)


def rows(text):
    """{(name, shape): {column: number}} of the tab-separated lines."""
    table = {}
    for line in text.split("\n"):
        name, *fields = [f.strip() for f in line.split("\t")]
        if len(fields) == 1 + len(COLUMNS) and not name.startswith("#"):
            table[name, fields[0]] = {c: None if f == "-" else float(f) for c, f in zip(COLUMNS, fields[1:])}
    return table


def tensors(path):
    """(names and places, bytes): all of a safetensors file but its metadata."""
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        header.pop("__metadata__")
        return header, f.read()


def total(table, column, shape=lambda s: True):
    return sum(r[column] for (_, s), r in table.items() if shape(s))


def test_rows(d, line):
    table = rows(line.stderr)
    step = table.pop(("step", ""), None)
    check("a profiled run ends with its profile", line.code == 0 and step and table, f"{line.code} {line.stderr[-300:]}")
    names = {name for name, shape in table if shape != "all"}
    weights = {n.removesuffix(".weight") for n, t in tensors(f"{d}/with/model.safetensors")[0].items()
               if n.endswith(".weight") and len(t["shape"]) > 1}
    check("every weight has a row", len(weights) > 50 and weights <= names, weights - names)
    kinds = {name for name, shape in table if shape == "all"}
    check("totals by kind", {"conv 1x1", "stem", "depthwise", "sum", "meanpool", "batch norm", "optimiser", "ema",
                             "threads waiting",
                             "waiting for the loss"} <= kinds, kinds)
    for column in ("ms", "forward", "backward", "key", "bound", "share"):
        got = total(table, column, lambda s: s == "all")
        check(f"totals of {column} add up to the step", abs(got - step[column]) < 0.001 * len(kinds) + 0.05 * (column == "share"),
              f"{got} {step[column]}")
    parts = step["forward"] + step["backward"] + step["key"]
    check("forward, backward and key are the step", abs(parts - step["ms"]) < 0.003, f"{parts} {step['ms']}")
    check("convolutions have a bound", all(table[n, "all"]["bound"] > 0 for n in ("conv 1x1", "stem", "depthwise")), table)
    seen = [1000 * BATCH / r["images_s"] for r in json_lines(line.stdout) if r.get("step", 0) > 2]
    # Medians add up to at most twice a mean; on a loaded machine, where each operation is late at another step, to less than any
    # step.
    check("the step is the one that the loss sees", min(seen) / 2 < step["ms"] < 2 * statistics.mean(seen),
          f"{step['ms']} {seen}")


def test_nothing_changes(d):
    plain = run(d, "without")
    check("a run without it says nothing of it", plain.code == 0 and not rows(plain.stderr), plain.stderr[-300:])
    for file in ("checkpoint", "model"):
        check(f"the {file} is the same", tensors(f"{d}/with/{file}.safetensors") == tensors(f"{d}/without/{file}.safetensors"))


def test_refused():
    line = Line(["encode", "--eval", "-w", "none", "--profile"], cwd="/").wait(20)
    check("nothing is trained, nothing is profiled", line.code == 2 and len(line.words) == 1 and "--profile" in line.words[0],
          f"{line.code} {line.stderr}")


if __name__ == "__main__":
    with folder() as d:
        images(f"{d}/data", 2 * BATCH)
        line = run(d, "with", "--profile")
        test_rows(d, line)
        test_nothing_changes(d)
        test_refused()
    done()
