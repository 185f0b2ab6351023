"""What a run leaves for others: its model served, without the predictor; taken on by another run, with it; several teachers in
one line, and views of another size, each as it is when it is alone."""
import subprocess

import augment_peer
import lines
import numpy as np
from byol import AUGMENT, CROPS, HEADS, checkpoint, play, refused, run, start
from lines import Line, check, folder, images
from peer import Client

QUIET = ["encode", "-q", "-j1"]
FRONT = AUGMENT + CROPS + ["data"]
MODEL = "first/model.safetensors"
FILES = {"a": MODEL, "b": "second/model.safetensors"}   # teachers


def ask(d, names, *stages, step=0):
    """The schema of a line that serves, and what it gives of a step."""
    line = Line(*stages, cwd=d, stdout=subprocess.PIPE)
    client = Client(line[-1].stdout.readline().decode(), "test")
    schema = client.open()
    client.want(step, names)
    tensors = client.take().tensors
    client.close()
    line.wait(30)
    line[-1].stdout.close()
    check(f"{' '.join(names)}: the line ends well", set(line.codes) == {0} and not line.stderr, f"{line.codes} {line.stderr}")
    return schema, tensors


def teacher(name, file):
    return [*QUIET, "--frozen", "--as", name, "-w", file]


def own(schema):
    return {n: spec[1] for n, spec in schema.offers.items() if n[:4] != "view" and n not in ("index", "label", "split", "name")}


def test_model(d):
    schema, got = ask(d, ["feature0", "q0"], ["augment", "-q", "-j1", "-b8", "--eval", "--like", MODEL, "data"],
                      [*QUIET, "--eval", "-w", MODEL])
    check("an evaluation is given features and the head, no predictor", own(schema) == {"feature0": (8, 1024), "q0": (8, 16)},
          own(schema))
    check("of some size", all(np.isfinite(a).all() and np.abs(a).max() > 0 for a in got.values()))
    schema, _ = ask(d, ["t0", "tfeature3"], FRONT, teacher("t", MODEL))
    wanted = {f"t{i}": (8, 16) for i in range(4)} | {f"tfeature{i}": (8, 1024) for i in range(4)}
    check("a teacher gives them of every view", own(schema) == wanted, own(schema))


def test_further(d):
    """Another run from the model: whether it has its predictor is seen after a step that moves nothing."""
    still = ["-w", MODEL, "--optim", "sgd:wd=0"]
    nothing = lambda batch: (0, {n: np.zeros_like(a) for n, a in batch.items()})
    net, old = ["encode", "-j1"], checkpoint(d, "first", "model")[0]
    fixed = [n for n, a in old.items() if "running" not in n and "num_" not in n]
    for name, options, has in (("named", HEADS[2:], True), ("not named", [], True), ("none", ["--predictor", "none"], False)):
        line = start(d, "-o", name, *still, *options, net=net)
        play(line, ["q0"] + ["p0"] * has, nothing)
        new, meta = checkpoint(d, name, "model")
        check(f"a further run, its predictor {name}: weights are taken on",
              line.codes == [0, 0] and "random" not in line.stderr and
              meta["predictor"] == (HEADS[3] if has else "none") and
              all(np.array_equal(new[n], old[n]) if has or n[:9] != "predictor" else n not in new for n in fixed),
              f"{line.codes} {line.stderr}")
        check(f"a further run, its predictor {name}: what is left aside is said",
              ("left aside" in line.stderr and "predictor.*" in line.stderr) != has, line.stderr)
    line = start(d, "-o", "new", "-w", "none/model.safetensors", *HEADS[2:], net=net)
    play(line, ["p0", "q0"], nothing)
    check("one that the file has not starts at random, which is said", line.codes == [0, 0] and
          "has no predictor: it starts at random" in line.stderr, f"{line.codes} {line.stderr}")
    asked = (("another predictor", ["--predictor", "20,bn,relu,16"], ("predictor",)), ("a linear one", ["--predictor", "linear"],
             ("predictor",)), ("another head", ["--head", "20,bn,relu,16"], ("head", "predictor")),
             ("a narrower head", ["--head", "linear", "--dim", "10", "--predictor", "none"], ("head",)))
    for name, words, kinds in asked:
        line = start(d, "-o", name, *still, *words, net=net)
        play(line, ["q0"], nothing)
        new = checkpoint(d, name, "model")[0]
        kept = [n for n in fixed if n.split(".")[0] not in kinds and n.split(".")[0] != "predictor" or n[:4] == "feat"]
        check(f"{name} than the file's starts at random, which is said", line.codes == [0, 0] and
              all(f"has another {k}: the one asked for starts at random" in line.stderr for k in kinds) and
              line.stderr.count("at random") == len(kinds), f"{line.codes} {line.stderr}")
        check(f"{name}: the rest is the file's", len(kept) > 90 and all(np.array_equal(new[n], old[n]) for n in kept), len(kept))
        first = f"{kinds[0]}.0.weight"
        check(f"{name}: its layer is another", new[first].shape != old[first].shape and np.abs(new[first]).max() > 0)
    for words in (["--head", "20,bn,relu,16"], ["--dim", "10"]):
        refused(d, f"a teacher has no other head, {words[1]}", 2, ["leave --"], "--frozen", "-w", MODEL, *words, net=QUIET)


def test_teachers(d):
    alone = {n: ask(d, [f"{n}0", f"{n}feature0", f"{n}3"], FRONT, teacher(n, f))[1] for n, f in FILES.items()}
    alone = {k: v for tensors in alone.values() for k, v in tensors.items()}
    for order in ("ab", "ba"):
        schema, got = ask(d, list(alone), FRONT, *(teacher(n, FILES[n]) for n in order))
        check(f"{order}: each gives what it gives alone", all(np.array_equal(got[n], alone[n]) for n in alone), own(schema))
    check("they are two", alone["a0"].shape == (8, 16) and alone["b0"].shape == (8, 12) and
          alone["afeature0"].shape != alone["bfeature0"].shape)
    line = start(d, "-o", "taught", front=[teacher(n, f) for n, f in FILES.items()])
    batches = play(line, ["q0", "k1", *alone, "label"], lambda b: (0, {"q0": np.zeros_like(b["q0"])}))
    check("and reach the loss through a network that is trained", line.codes == [0] * 4 and
          all(np.array_equal(batches[0][n], a) for n, a in alone.items()), f"{line.codes} {line.stderr}")


def test_sizes(d):
    """Views that a teacher is served beside others of another size, and alone, as the only ones there are."""
    for name, file in FILES.items():
        schema, got = ask(d, ["view1", f"{name}feature1", f"{name}1", "view2", f"{name}feature2", f"{name}2"], FRONT,
                          teacher(name, file))
        facts = {n: schema.scalars[f"fact.{n}"] for n in ("mean", "std")}
        for view, size in (("1", 32), ("2", 16)):
            with augment_peer.constant({"view0": got["view" + view]}, views=1, size=None, **facts) as ticket:
                _, alone = ask(d, [f"{name}0", f"{name}feature0"], [*teacher(name, file), "--from", ticket])
            error = max(np.abs(alone[f"{name}{n}0"] - got[f"{name}{n}{view}"]).max() for n in ("", "feature"))
            check(f"{name}: views of {size} are served as they are alone", error == 0 and
                  got["view" + view].shape == (8, size, size, 3), error)


if __name__ == "__main__":
    with folder() as d:
        images(f"{d}/data", 24)
        run(d, "first", "--optim", "adamw:lr=1e-3", "--bn-momentum", ".5")
        run(d, "second", "--predictor", "linear", net=["encode", "-q", "-j1", "-a", "deit_tiny", "--small", "--dim", "12"])
        test_model(d)
        test_further(d)
        test_teachers(d)
        test_sizes(d)
    lines.done()
