"""Views of two sizes as a client sees them: what is offered, what comes, whole and in parts, and what the line says of itself."""
import re
import subprocess

import lines
import numpy as np
from lines import BIN, Line, check, folder, images
from peer import Client, Fault

AUGMENT = ["augment", "-q", "-j1", "--size", "32", "--recipe", "mocov2", "--batch", "8", "--epochs", "2", "-s", "5"]
CROPS = ["--crops", "4x12:scale=.1-.3,blur=0"]
SIZES = [32, 32, 12, 12, 12, 12]
VIEWS = [f"view{i}" for i in range(6)]


def ask(d, words, *wants):
    """The schema, and what comes of wants (step, names, part, parts)."""
    line = Line(AUGMENT + words + ["data"], ["cat"], cwd=d, stdout=subprocess.PIPE)
    client = Client(line[-1].stdout.readline().decode(), "test")
    schema, answers = client.open(), []
    for want in wants:
        client.want(*want)
        answers.append(client.take().tensors)
    client.close()
    line.wait(20)
    check(f"{' '.join(words) or 'no crops'}: the stage ends well", set(line.codes) == {0} and not line.stderr, line.stderr)
    return schema, answers


def test_client(d):
    schema, (two, *parts, whole) = ask(d, CROPS, (0, ["view0", "view5"]), *((1, VIEWS, p, 3) for p in range(3)), (1, VIEWS))
    offered = [schema.offers[v] for v in VIEWS]
    check("each view is offered in its own size", offered == [("u8", (8, s, s, 3)) for s in SIZES], offered)
    check("view6 is not offered", "view6" not in schema.offers, schema.offers.keys())
    facts = schema.scalars
    check("facts: all views, the full size, the crops", (facts["fact.views"], facts["fact.size"]) == (6, 32) and
          re.fullmatch(r"4x12:scale=0.1-0.3,jitter=0.8,.*,blur=0,.*", facts["fact.crops"]), facts)
    shapes = [two["view0"].shape, two["view5"].shape]
    check("view0 and view5 come in their sizes", shapes == [(8, 32, 32, 3), (8, 12, 12, 3)], shapes)
    rows = [[p[v].shape[0] for p in parts] for v in VIEWS]
    check("parts have their rows of every view", rows == [[2, 3, 3]] * 6, rows)
    differ = [v for v in VIEWS if not np.array_equal(np.concatenate([p[v] for p in parts]), whole[v])]
    check("and make the whole", not differ, differ)
    plain, (old,) = ask(d, [], (1, ["view0", "view1"]))
    check("without crops the schema is as ever", "fact.crops" not in plain.scalars and plain.scalars["fact.views"] == 2
          and plain.scalars["fact.recipe"] == schema.scalars["fact.recipe"], plain.scalars)
    check("and so are the views of full size", all(np.array_equal(old[v], whole[v]) for v in ("view0", "view1")))


def test_hidden(d):
    """Hidden cells have the bytes nearest to --mean."""
    _, (b,) = ask(d, ["--recipe", "mocov2:hide=1", "--mean", "0,1,.5"], (0, ["view0", "view1"]))
    views = np.concatenate([b["view0"], b["view1"]]).reshape(16, -1, 3)
    all_hidden = (views == np.array([0, 255, 128])).all((1, 2))
    check("hide=1: views have a grid and are the mean, or have none", 6 < all_hidden.sum() < 16, all_hidden)


def test_mixed(d):
    """The mixed view is the same whether or not those that it is made of come along."""
    names = ["view0", "view1", "view2", "view3", "mix"]
    schema, (whole, alone, half) = ask(d, ["--views", "3", "--mix", "0+2"], (1, names), (1, ["mix", "view3"]),
                                       (1, ["view3", "view2"]))
    check("a mixed view is offered, and its share", (schema.offers["view3"], schema.offers["mix"], schema.scalars["fact.mix"],
          schema.scalars["fact.views"]) == (("u8", (8, 32, 32, 3)), ("f32", (8,)), "0+2", 4), schema.offers)
    inside = (whole["view3"] == whole["view0"]).all(3) | (whole["view3"] == whole["view2"]).all(3)
    share = (whole["view3"] == whole["view0"]).all(3).mean((1, 2))
    check("it is made of both", inside.all() and (share >= whole["mix"]).all() and abs(share - whole["mix"]).max() < .1, share)
    check("whoever asks for what", all(np.array_equal(whole[n], b[n]) for b in (alone, half) for n in b))


def test_refused(d):
    line = Line(AUGMENT + CROPS + ["data"], ["cat"], cwd=d, stdout=subprocess.PIPE)
    client = Client(line[-1].stdout.readline().decode(), "test")
    client.open()
    client.want(0, ["view6"])
    try:
        said = str(client.take())
    except Fault as e:
        said = str(e)
    client.close()
    line.wait(20)
    check("view6 is refused by a sentence", "there are 6 views" in said and "--crops" in said, said)


def test_alone(d):
    run = lambda *words: subprocess.run([f"{BIN}/augment", *AUGMENT[1:], *words, "data"], cwd=d, capture_output=True, text=True)
    for words, sizes in ((CROPS, "2 views of 32 pixels each, 4 of 12"), ([], "2 views of 32 pixels each")):
        r = run("--dry-run", *words)
        check(f"--dry-run: {sizes}", r.returncode == 0 and f"; {sizes}; " in r.stdout, r.stdout + r.stderr)
    told = [run("--describe", *words).stdout for words in (CROPS, [])]
    check("--describe knows nothing of crops", told[0] == told[1] != "", told)


if __name__ == "__main__":
    with folder() as d:
        images(f"{d}/data", 24)
        test_client(d)
        test_hidden(d)
        test_mixed(d)
        test_refused(d)
        test_alone(d)
    lines.done()
