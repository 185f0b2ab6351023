"""Every output of the trained network in one loss: what is offered; gradients of any mixture of p, q and features, of views of
two sizes, whole and in parts; kills; keys whose momentum rises, and those of none; what is refused. The loss is byol.py."""
import json
import math
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import augment_peer
import lines
import numpy as np
from byol import AUGMENT, CROPS, HEADS, NET, PAIRS, WANTS, byol, checkpoint, only, play, refused, run, start
from lines import Line, check, content, folder, images, safetensors
from peer import Client, Fault

TWICE = AUGMENT + CROPS + ["--epochs", "2"]
DEIT = ["encode", "-q", "-j1", "-a", "deit_tiny", "--small", "--drop-path", ".2", "--optim", "adamw:lr=1e-3"]
SIAMESE = ["p0", "p1", "q0", "q1", "k0", "k1", "feature3"]
OWN = ("lineage", "sprat.crc32")   # metadata that two equal runs of other command lines have each for itself


def siamese(batch):
    """As SimSiam's loss, keys being queries of the same step; with a crop's feature."""
    value, d = byol(batch, PAIRS[:2], ("feature3",))
    return value, {**d, "q0": np.zeros_like(batch["q0"]), "q1": np.zeros_like(batch["q1"])}


def differing(d, a, b):
    """What differs between two checkpoints: tensors, and metadata but for the command lines."""
    (x, m), (y, n) = checkpoint(d, a), checkpoint(d, b)
    return [k for k in {**x, **y} if k not in x or k not in y or x[k].tobytes() != y[k].tobytes()] + \
        [k for k in {**m, **n} if m.get(k) != n.get(k) and k not in OWN]


def in_pairs(case, items):
    """Lines wait most of the time: two at once."""
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(case, *item) for item in items]:
            done.result()


# --- offers ---


def test_offers(d):
    full = ["--head", "byol", "--predictor", "byol"]
    widths = {"feature": 1024, "q": 256, "p": 256, "k": 256}
    for name, net, kinds in (("a predictor", NET + full, "feature q p k"), ("none", NET + full[:2], "feature q k"),
                             ("no head", NET + ["--head", "none"], "feature")):
        line = start(d, net=net)
        client = Client(line[-1].stdout.readline().decode(), "loss")
        offers = client.open().offers
        client.socket.close(linger=0)
        line.wait(20)
        wanted = {f"{kind}{i}": ("f32", (8, widths[kind])) for kind in kinds.split() for i in range(4)}
        own = {n: spec for n, spec in offers.items() if n[:4] != "view" and n not in ("index", "label")}
        check(f"{name}: names and widths of what is offered", own == wanted, own)
        check(f"{name}: views and labels pass through", [offers[f"view{i}"][1][1] for i in range(4)] == [32, 32, 16, 16]
              and len(offers) == len(own) + 6, offers.keys())


# --- gradients ---


def moves(d, out, *names):
    """What one step of plain SGD at a rate of 1 moves the network's parameters by, with the gradients of these names."""
    sgd = ["--optim", "sgd:lr=1,momentum=0,wd=0", "--schedule", "constant"]
    run(d, out, *sgd, augment=AUGMENT + CROPS + ["--batch", "24"], loss=only(*names))
    tensors = checkpoint(d, out, "model")[0]
    return {n: a.astype(np.float64) for n, a in tensors.items() if a.dtype == np.float32 and "running" not in n}


def test_sum(d):
    """Gradients of all outputs at once move the weights by the sum of what each does, and only what it goes through."""
    names = [n for n in WANTS if n[0] != "k"]
    still, whole = moves(d, "no gradient"), moves(d, "all", *names)
    alone = {n: moves(d, f"{n} alone", n) for n in names}
    sums = {n: sum(a[n] - still[n] for a in alone.values()) for n in still}
    error = math.sqrt(sum(((whole[n] - still[n] - sums[n]) ** 2).sum() for n in still) / sum((sums[n] ** 2).sum() for n in still))
    check("a mixture moves the weights by the sum of its parts", 0 <= error < 1e-4, error)
    moved = {n: {k.split(".")[0] for k in still if not np.array_equal(a[k], still[k])} for n, a in alone.items()}
    tops = {"p": {"features", "classifier", "head", "predictor"}, "q": {"features", "classifier", "head"},
            "f": {"features", "classifier"}}
    check("p moves predictor and head, q the head, a feature neither", all(m == tops[n[0]] for n, m in moved.items()), moved)


def test_descent(d):
    """A step downhill from one and the same batch, in parts: its loss, keys being those of before, falls by rate times
    |gradient|^2, so every gradient has gone to its own output, view and rows, in its own size."""
    rate, keys, values = 1e-6, {}, []
    sgd = ["--optim", f"sgd:lr={rate},momentum=0,wd=0", "--schedule", "constant", "--microbatch", "8"]

    def held(batch):
        keys.update({} if keys else {n: batch[n] for n in ("k0", "k1")})
        value, d = byol({**batch, **keys})
        values.append(value)
        return value, d

    for out, more in (("no step", ["--optim", "sgd:lr=0,wd=0"]), ("downhill", []),
                      ("after", ["-w", "downhill/model.safetensors"])):
        run(d, out, *sgd, *more, augment=AUGMENT + CROPS + ["--batch", "24"], loss=held)
    old, new = (checkpoint(d, out, "model")[0] for out in ("no step", "downhill"))
    square = sum(((new[n].astype(np.float64) - old[n]) ** 2).sum() for n in old if "running" not in n and "num_" not in n)
    ratio = (values[1] - values[2]) / (square / rate)
    check("the loss falls as the gradients say", values[0] == values[1] and abs(ratio - 1) < 0.03, (ratio, values))


# --- parts ---


def in_parts(d, name, net, how):
    whole = run(d, f"{name} whole", "--bn-splits", "3", net=net + HEADS, **how)
    parts = run(d, f"{name} in parts", "--microbatch", "3", net=net + HEADS, **how)
    if whole and parts:
        check(f"{name}: the same bytes whole and in parts", not differing(d, f"{name} whole", f"{name} in parts"),
              differing(d, f"{name} whole", f"{name} in parts")[:4])
        check(f"{name}: the loss sees the same", len(whole) == len(parts) == 3 and
              all(np.array_equal(a[n], b[n]) for a, b in zip(whole, parts) for n in a))


def test_parts(d):
    in_pairs(in_parts, [(d, "mobilenet_v3_small", NET + ["--dropout", ".2"], {}), (d, "deit_tiny", DEIT, {}),
                        (d, "no keys", NET + ["--ema", "0"], {"wants": SIAMESE, "loss": siamese}),
                        (d, "averaged keys", NET + ["--ema", ".5..1", "--ema-buffers"], {})])
    run(d, "one part", "--ema", ".5..1", "--ema-buffers")
    check("the number of parts matters", "model.head.0.weight" in differing(d, "one part", "averaged keys whole"))


# --- kills ---


def killed(d, whole, name, moment, options, how):
    """The run of six steps, saved after each second one."""
    out = f"{name}-{moment[0]}-{moment[1]}"
    line = start(d, "-o", out, *options, augment=TWICE)
    before = play(line, kill=moment, **how)
    again = start(d, "-o", out, *options, augment=TWICE)
    after = play(again, **how)
    first = 6 - len(after)
    good = line.codes[-1] == -signal.SIGKILL and again.codes == [0, 0] and not again.words
    same = first in (moment[0] // 2 * 2, len(before) // 2 * 2) and content(f"{d}/{out}/checkpoint.safetensors") == \
        content(f"{d}/{name}/checkpoint.safetensors") and all(np.array_equal(a[n], b[n]) for a, b in zip(after[::-1], whole[::-1])
                                                             for n in a)
    check(f"{name}: killed at the {moment[1]} of step {moment[0] + 1}: the same line, the same end", good and same,
          f"{line.codes} {again.codes} {again.stderr}")


def test_kills(d):
    every = ["--save-every", "2", "--optim", "adamw:lr=1e-3"]
    rising = every + ["--ema", ".9..1", "--dropout", ".1"]
    for name, options, moments, how in (
            ("rising", rising, ((0, "grad"), (3, "batch"), (4, "grad")), {}),
            ("rising-parts", [*rising, "--microbatch", "4", "--ema-buffers"], ((3, "grad"),), {}),
            ("siamese", [*every, "--ema", "0"], ((3, "batch"), (4, "grad")), {"wants": SIAMESE, "loss": siamese})):
        whole = run(d, name, *options, augment=TWICE, **how)
        in_pairs(killed, [(d, whole, name, moment, options, how) for moment in moments] if whole else [])


# --- keys ---


def test_rising(d):
    """Keys' parameters follow by .9 to 1, half a cosine over the run; with --ema-buffers so do their statistics."""
    def keep(step):
        if step:
            shutil.copy(f"{d}/followed/checkpoint.safetensors", f"{d}/followed-{step}.safetensors")

    run(d, "followed", "--ema", ".9..1", "--ema-buffers", "--save-every", "1", augment=TWICE, each=keep)
    files = [safetensors(f"{d}/followed-{s}.safetensors")[0] for s in range(1, 6)] + [checkpoint(d, "followed")[0]]
    worst = {True: 0, False: 0}
    for step in range(1, 6):
        m = 1 - (1 - 0.9) * (math.cos(math.pi * step / 6) + 1) / 2
        before, after = files[step - 1], files[step]
        for n in (n[4:] for n in after if n.startswith("key.")):
            averaged = "running" in n   # queries have moved their statistics by then, their parameters not yet
            query = (after if averaged else before)["model." + n].astype(np.float64)
            error = np.abs(after["key." + n] - m * before["key." + n] - (1 - m) * query).max()
            worst[averaged] = max(worst[averaged], error / (np.abs(query).max() + 1e-3))
    check("keys follow with the momentum that rises", worst[False] < 1e-6, worst)
    check("and so do their statistics", worst[True] < 1e-6, worst)
    tensors, meta = checkpoint(d, "followed")
    kinds = {".".join(n.split(".")[:2]) for n in tensors}
    check("the checkpoint has the model's predictor, and no key's", {"model.predictor", "model.head", "key.head"} <= kinds and
          "key.predictor" not in kinds, kinds)
    facts = [meta.get(f"fact.{n}") for n in ("ema", "ema_buffers", "predictor")]
    check("and its facts", facts == [".9..1", "yes", "24,bn,relu,16"], facts)


def test_no_keys(d):
    for name, options in (("whole", []), ("parts", ["--microbatch", "3"])):
        batches = run(d, f"no-keys-{name}", "--ema", "0", *options, wants=SIAMESE, loss=siamese)
        check(f"--ema 0, {name}: keys are the queries", batches and
              all(b["k0"].tobytes() == b["q0"].tobytes() and b["k1"].tobytes() == b["q1"].tobytes() for b in batches))
        names = list(checkpoint(d, f"no-keys-{name}")[0])
        check(f"--ema 0, {name}: the checkpoint has no key encoder", not any(n.startswith("key.") for n in names) and
              any(n.startswith("model.predictor.") for n in names), names[:3])
    batches = run(d, "keys", wants=SIAMESE, loss=siamese)
    check("other keys are not", batches and not np.array_equal(batches[2]["k0"], batches[2]["q0"]))


# --- what is refused ---


def drop(name, also=()):
    return lambda batch: (0, {n: d for n, d in {**byol(batch)[1], **dict(also)}.items() if n != name})


def test_refused(d):
    zeros = np.zeros((8, 16), np.float32)
    cases = [(f"--ema {m}", 2, [f"--ema '{m}'"], ["--ema", m], {}) for m in ("0..1", "2", "x", ".9..")]
    cases += [
        ("p0 without a predictor", 2, ["nobody gives 'p0'", "--predictor"], [], {"net": NET + HEADS[:2]}),
        ("a fifth view", 2, ["nobody gives 'q4'", "--views"], [], {"wants": ["q4"]}),
        ("labels alone", 2, ["nothing that is trained", "featureI", "qI", "pI"], [], {"wants": ["label"]}),
        ("keys and views alone", 2, ["nothing that is trained"], [], {"wants": ["k0", "view3", "index"]}),
        ("keys alone, which are queries", 2, ["nothing that is trained"], ["--ema", "0"], {"wants": ["k0", "k1"]}),
        ("no gradient of p0", 1, ["no 'd:p0'", "step 1"], [], {"loss": drop("p0")}),
        ("no gradient of q2", 1, ["no 'd:q2'", "step 1"], [], {"loss": drop("q2")}),
        ("no gradient of a feature alone", 1, ["no gradient", "step 1"], [], {"wants": ["feature0"], "loss": lambda b: (0, {})}),
        ("a gradient of k0, which are queries", 1, ["'d:k0'"], ["--ema", "0"], {"loss": drop("", {"k0": zeros})}),
        ("a gradient as wide as another", 1, ["'d:p0'", "8,15", "8,16"], [], {"loss": drop("", {"p0": zeros[:, :15]})}),
        ("a predictor of what is not trained", 2, ["--predictor"], ["--frozen"], {})]
    cases += [(f"a gradient of {n}, of which none is due", 1, [f"'d:{n}'", "step 1"], [], {"loss": drop("", {n: zeros})})
              for n in ("k0", "q1", "p3", "feature0")]
    in_pairs(lambda name, code, parts, options, how: refused(d, name, code, parts, *options, **how), cases)


def test_other_line(d):
    """Behind test_rising(): its run with another predictor."""
    for name, words in (("another", ["--predictor", "20,bn,relu,16"]), ("no", ["--predictor", "none"])):
        refused(d, f"{name} predictor for the run", 2, ["predictor '24,bn,relu,16'", f"'{words[1]}'"], "-o", "followed", "--ema",
                ".9..1", "--ema-buffers", *words, augment=TWICE)


def forget(path, *names):
    """Takes metadata out of a file, its checksum with them."""
    raw = content(path)
    n = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:8 + n])
    header["__metadata__"] = {k: v for k, v in header["__metadata__"].items() if k not in names and "sprat.crc32" not in k}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text + raw[8 + n:])


def test_before(d):
    """A checkpoint from before there were predictors and averaged statistics."""
    plain = {"net": NET + HEADS[:2], "augment": TWICE, "wants": ["q0", "q2", "k0", "k1", "feature2"],
             "loss": lambda b: byol(b, PAIRS[2:], ("feature2",))}
    run(d, "new", **plain)
    run(d, "old", "--until", "1", **plain)
    forget(f"{d}/old/checkpoint.safetensors", "predictor", "fact.predictor", "fact.ema_buffers")
    refused(d, "a predictor for an older run", 2, ["predictor 'none'", "'24,bn,relu,16'"], "-o", "old", *HEADS[2:], **plain)
    refused(d, "averaged statistics for an older run", 2, ["ema_buffers 'no'", "'yes'"], "-o", "old", "--ema-buffers", **plain)
    batches = run(d, "old", **plain)
    check("without, an older run goes on to the same end", batches and len(batches) == 3 and not differing(d, "old", "new"),
          differing(d, "old", "new")[:4])


# --- many views, strange ones ---


def beside(d, arrays, *options, wants=WANTS, loss=byol, **facts):
    """encode behind an augment in Python."""
    with augment_peer.constant(arrays, **facts) as ticket:
        line = Line(NET + HEADS + ["--from", ticket, *options], cwd=d, stdout=subprocess.PIPE)
        try:
            return line, play(line, wants, loss)
        except (Fault, TimeoutError) as e:
            return line, e


def noise(views):
    return {f"view{i}": np.random.default_rng(i).integers(0, 256, (8, 32, 32, 3), np.uint8) for i in range(views)}


def test_many(d):
    def loss(batch):
        value, d = byol(batch, [(f"q{i}", "k0") for i in range(16)] + [("p0", "k1")], [f"feature{i}" for i in range(16)])
        return value, d

    wants = [f"{kind}{i}" for kind in ("q", "feature") for i in range(16)] + ["p0", "k0", "k1"]
    crops = lambda n, size: [*AUGMENT, "--batch", "24", "--crops", f"{n}x{size}"]
    for size in (8, 16):
        batches = run(d, f"views-of-{size}", augment=crops(14, size), wants=wants, loss=loss)
        check(f"16 views, 14 of {size} pixels, train a step", batches and len(batches) == 1 and
              all(np.isfinite(a).all() for a in batches[0].values()) and len(batches[0]) == 35)
    line = start(d, augment=crops(15, 8))
    said = None
    try:
        play(line)
    except Fault as f:
        said = f
    check("17 are refused by augment", said and "2 views and 15 crops" in said.sentence and line.codes == [2, 2] and
          [w.split(":")[0] for w in line.words] == ["augment"], f"{said} {line.codes} {line.stderr}")
    for word, options in (("trained", []), ("frozen", ["--frozen", "--predictor", "none"])):
        line, fault = beside(d, noise(17), *options, views=17)
        check(f"17 of another stage are refused by encode, {word}", isinstance(fault, Fault) and "17 views" in fault.sentence and
              "16" in fault.sentence and line.codes == [2] and len(line.words) == 1, f"{fault} {line.codes} {line.stderr}")


def test_like_names(d):
    """q01 is not q1, whoever offers it."""
    strange = {"q01": np.arange(8, dtype=np.int64), "p+0": np.ones((8, 2, 3), np.float32), "k": np.zeros((8, 1), np.uint8)}
    loss = lambda b: (0, {"q1": np.zeros_like(b["q1"])})
    for options in ([], ["--microbatch", "4"]):
        line, got = beside(d, {**noise(2), **strange}, *options, wants=["q1", *strange], loss=loss, steps=2)
        check(f"names that look like ours pass through{' in parts' * bool(options)}", line.codes == [0] and len(got) == 2 and
              all(np.array_equal(b[n], strange[n]) for b in got for n in strange), f"{got} {line.codes} {line.stderr}")


if __name__ == "__main__":
    with folder() as d:
        images(f"{d}/data", 24)
        test_offers(d)
        test_sum(d)
        test_descent(d)
        test_parts(d)
        test_kills(d)
        test_rising(d)
        test_no_keys(d)
        test_refused(d)
        test_other_line(d)
        test_before(d)
        test_many(d)
        test_like_names(d)
    lines.done()
