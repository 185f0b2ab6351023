"""What stays: tensors that a run freezes, through kills of the schedule and parts of a batch, refused where a line names others;
and who trains a patch embedding."""
import sys

import numpy as np

import lines
from lines import Line, check, content, folder, images, safetensors

AUGMENT = ["augment", "-q", "-j1", "--size", "32", "--recipe", "moco-cifar", "--batch", "8", "--epochs", "2", "-s", "9", "data"]
NET = ["encode", "-q", "-j1", "-a", "mobilenet_v3_small", "--small", "--dim", "16", "--bn-momentum", "0.3"]
LOSS = ["loss", "-q", "-j1", "moco:k=64"]
FREEZE = ["-w", "first/model.safetensors", "--freeze", "backbone"]


def run(d, out, *options, net=NET, augment=AUGMENT):
    return Line(augment, [*net, *options, "-o", out], LOSS, cwd=d).wait(120)


def model(d, out, file="model"):
    return safetensors(f"{d}/{out}/{file}.safetensors")


def counted(name):
    return name.endswith("num_batches_tracked")


def test_run(d):
    lines_ = [run(d, "first"), run(d, "whole", *FREEZE, "--bn-splits", "2")]
    check("a run freezes the backbone of another", all(x.codes == [0] * 3 for x in lines_), [x.stderr for x in lines_])
    (start, _), (end, meta) = model(d, "first"), model(d, "whole")
    moved = {n for n in start if not counted(n) and not np.array_equal(start[n], end[n])}
    check("which stays, its statistics, too, and the head moves", moved == {"head.0.weight", "head.0.bias"}, moved)
    check("the model says what was frozen", meta.get("fact.freeze") == "backbone", meta.get("fact.freeze"))
    key = model(d, "whole", "checkpoint")[0]
    check("the key encoder has the same backbone", all(np.array_equal(key["key." + n], a) for n, a in start.items()
                                                       if not counted(n) and not n.startswith("head.")))
    line = run(d, "drawn", "--freeze", "features.0.", net=[NET[0], *NET[2:]])
    check("without weights it is said what frozen norms go by", "means 0 and variances 1" in line.stderr, line.stderr)
    for out, options in (("parts", ["--microbatch", "4"]), ("again", ["--bn-splits", "2", "--until", "1"])):
        line = run(d, out, *FREEZE, *options)
        check(f"{out}: a run freezes", line.codes == [0] * 3, line.stderr)
    line = run(d, "again", *FREEZE, "--bn-splits", "2")
    check("and goes on", line.codes == [0] * 3, line.stderr)
    for out in ("parts", "again"):
        found = model(d, out, "checkpoint")[0]
        check(f"{out}: the same tensors", found.keys() == key.keys() and all(np.array_equal(found[n], key[n]) for n in key))


def test_refusals(d):
    for label, out, options, words in (
            ("another list", "whole", [*FREEZE, "--freeze", "head.0.bias", "--bn-splits", "2"], ["'backbone'", "head.0.bias"]),
            ("no list", "whole", [*FREEZE[:2], "--bn-splits", "2"], ["freeze 'backbone'", "'none'"]),
            ("a wrong name", "new", ["--freeze", "features.0.0.weigth"], ["near are 'features.0.0.weight'"]),
            ("a prefix without its dot", "new", ["--freeze", "head.,features.3"], ["'features.3'", "near are 'features.3.'"]),
            ("everything", "new", ["--freeze", "backbone,head"], ["nothing to train"]),
            ("a room that there is not", "new", ["--freeze", "predictor"], ["has none"]),
            ("an evaluation", "new", ["--freeze", "head", "--frozen"], ["--freeze is about training"])):
        line = run(d, out, *options)
        said = len(line.words) == 1 and all(w in line.stderr for w in words)
        check(f"{label} is refused", line.code == 2 and said, line.stderr)


def test_patches(d):
    """Shi et al.'s transformer keeps its patch embedding as it was drawn, unless it is told otherwise."""
    net, found = ["encode", "-q", "-j1", "-a", "vit_tiny_ssl", "--small", "--dim", "16", "--optim", "sgd:lr=.1"], {}
    augment = [*AUGMENT[:4], "16", *AUGMENT[5:], "--epochs", "1"]
    for out, options in (("kept", []), ("trained", ["--freeze", "none"])):
        line = run(d, out, *options, net=net, augment=augment)
        check(f"the patch embedding is {out}", line.codes == [0] * 3, line.stderr)
        found[out] = model(d, out)
    (kept, meta), (trained, other) = found["kept"], found["trained"]
    bound = (3 * 4 * 4) ** -0.5     # as drawn
    check("by default it stays as drawn", meta["fact.freeze"] == "patch_embed." and
          np.abs(kept["patch_embed.proj.weight"]).max() <= bound, meta["fact.freeze"])
    check("--freeze none trains it", other["fact.freeze"] == "none" and
          not np.array_equal(kept["patch_embed.proj.weight"], trained["patch_embed.proj.weight"]), other["fact.freeze"])
    check("all others move either way", not np.array_equal(kept["pos_embed"], trained["pos_embed"]))


def main():
    with folder() as d:
        images(f"{d}/data", 24)
        test_run(d)
        test_refusals(d)
        test_patches(d)
    return lines.done()


if __name__ == "__main__":
    sys.exit(main())
