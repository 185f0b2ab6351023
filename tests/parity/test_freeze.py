"""test_freeze - tensors that training keeps, or moves at rates of their own: five steps against PyTorch with
requires_grad=False, and batch norm in evaluation mode where all of it is frozen; bytes that stay, a backward pass that ends
where nothing is trained, words that mean nothing"""
import sys
from ctypes import c_size_t
from dataclasses import replace

import numpy as np

import net_steps as steps
from moco_steps import is_frozen, moco_case, moco_ours, moco_torch, moco_truth
from net_case import Case, refused, situation
from net_ct import Net, P, Pass, declare, lib
from net_steps import F32, print_table
from net_torch import PartsBN
from sprat_ct import check, done
from test_trainer import judge, test_f32
from trainer_ct import Trainer

declare("pass_bytes", c_size_t, P)
SMALL = Case("mobilenet_v3_small", True, 32)
PIECES = "features.0.,features.4.block.0.,features.5.block.2.,head.0.bias"      # the stem, a convolution, a gate, a bias


def test_bytes(case):
    """What is frozen stays, in the key encoder too, and so do its statistics; and there is no momentum of it."""
    way, (ours, _) = moco_truth(case)[0], moco_ours(case, "blas")
    ends, start = ours["after 5 steps"], way.unmoved
    frozen = [n for n in start if "running" not in n and is_frozen(n, case.freeze)]
    norms = [n for n in start if "running" in n and all(n.rsplit(".", 1)[0] + end in frozen for end in (".weight", ".bias"))]
    check(f"{case}: frozen tensors keep their bytes", frozen and all(
        np.array_equal(ends["query " + n], start[n].astype(np.float32)) for n in frozen + norms), "they differ")
    first = {n: start[n] - sum(m[n] for m in way.moves[1:] if n in m) for n in frozen + norms}     # since the key's first step
    check(f"{case}: and the key has them, too", all(
        np.array_equal(ends["key " + n], first[n].astype(np.float32)) for n in frozen + norms), "they differ")
    check(f"{case}: and no momentum", not any(ours["momentum"][f"momentum_buffer {n}"].any() for n in frozen), "it has some")
    moved = [n for n in start if n not in frozen + norms and np.array_equal(ends["query " + n], start[n].astype(np.float32))]
    check(f"{case}: all others move", not moved, f"{moved[:4]} do not")


def train_norms(model):
    for m in model.modules():
        if isinstance(m, PartsBN):
            m.train()


def test_comparison(case):
    double, single = moco_truth(case)[1], moco_torch(case, F32)
    steps.notices(judge, "nothing frozen", "movement", moco_torch(case, F32, freeze="none"), single, double)
    trained = moco_torch(case, F32, spoil=train_norms)
    steps.notices(judge, "frozen norms in training mode", "after 5 steps", trained, single, double)


def test_end(case):
    """With a frozen backbone no gradient is computed below the head, nor anything kept for it."""
    weights, views, d = situation(replace(case, freeze="none"))
    sizes = {}
    for freeze in ("none", "backbone"):
        net = replace(case, freeze=freeze).net("blas")
        params, buffers = net.load(weights)
        named = net.export(net.step(params, buffers, views, d)["grads"])
        p = Pass(net, case.batch, True)
        sizes[freeze] = lib.pass_bytes(p.handle)
    some = {room: [n for n in named if n.startswith("head.") == (room == "head") and "running" not in n and named[n].any()]
            for room in ("head", "backbone")}
    check(f"{case}: backward ends at the head", len(some["head"]) >= 2 and not some["backbone"], f"{some}")
    check(f"{case}: and keeps nothing for what is below", sizes["backbone"] < 0.5 * sizes["none"], f"{sizes} bytes")


def test_gradients(case):
    """Where there is no batch norm, what is frozen changes no other gradient; of what comes before all that is trained there is
    none."""
    weights, views, d = situation(replace(case, freeze="none"))
    found = {}
    for freeze in ("none", case.freeze):
        net = replace(case, freeze=freeze).net("blas")
        params, buffers = net.load(weights)
        found[freeze] = net.export(net.step(params, buffers, views, d)["grads"])
    whole, rest = found.values()
    others = [n for n in whole if not is_frozen(n, case.freeze)]
    check(f"{case}: all other gradients are the same bytes", all(whole[n].tobytes() == rest[n].tobytes() for n in others))
    first = [n for n in whole if n.startswith("patch_embed.")]
    check(f"{case}: and the first layer has none", all(whole[n].any() and not rest[n].any() for n in first))


def test_rates(case):
    """Parameter groups in PyTorch."""
    double, single = moco_truth(case)[1], moco_torch(case, F32)
    steps.notices(judge, "one rate for all", "movement", moco_torch(case, F32, rates="1"), single, double)
    test_f32(case)


def test_rate_words():
    for rates, word in (("head", "NAME=FACTOR"), ("head=-1", "NAME=FACTOR"), ("head=much", "NAME=FACTOR"),
                        ("backbones=1", "near are"), ("predictor=2", "has none")):
        try:
            Trainer("resnet18", True, "linear", 8, (16, 16), 8, 1, "sgd", rates=rates)
            check(f"--lr {rates} is refused", False)
        except RuntimeError as e:
            check(f"--lr {rates} is refused", word in str(e) and "--lr" in str(e), e)


def test_words():
    for freeze, word in (("layer1", "'layer1.'"), ("layer1.0.conv3.weight", "'layer1.0.conv2.weight'"), ("backbones", "near are"),
                         ("predictor", "has none"), ("bn1.running_mean", "weight and the bias"), ("none,head", "'none'"),
                         ("backbone,head", "nothing to train")):
        refused(word, head="linear", freeze=freeze)
    net = Net("resnet18", False, "linear", 8, (64, 64), freeze="head.,head,head.")
    check("words may be given twice", net.dim == 8)


def main():
    lib.threads_set(2)
    test_words()
    test_rate_words()
    test_rates(moco_case(replace(SMALL, head="simple", rates="features.12.=2,head=3")))
    test_rates(moco_case(Case("deit_tiny", True, 16, rates="backbone=0.5,blocks.3.=2")))
    test_end(replace(SMALL, batch=64))
    whole = moco_case(replace(SMALL, head="simple", freeze="backbone"))
    test_comparison(whole)
    for case in (whole, moco_case(replace(SMALL, freeze=PIECES))):
        test_f32(case)
        test_bytes(case)
    test_gradients(Case("deit_tiny", True, 16, batch=5, freeze="patch_embed.,blocks.3."))
    print_table()
    return done()


if __name__ == "__main__":
    sys.exit(main())
