"""test_pth - PyTorch's files: whatever torch.save writes of tensors is read as PyTorch has it; what is damaged or made up to
mislead is refused with a sentence, and never crashes"""
import ctypes
import io
import os
import pickle
import random
import sys
import tempfile
import zipfile
from collections import OrderedDict

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "unit"))
import numpy as np

from sprat_ct import check, done, lib, why
from test_safetensors import in_child, our_read

import torch


def read(path):
    return our_read(path, lib.shim_tensors_open)


def raw(t):
    """A tensor's values as our reader gives them: bf16 as its 16 bits, bool as u8."""
    t = t.detach().contiguous()
    return t.view(torch.int16).numpy().view(np.uint16) if t.dtype == torch.bfloat16 else \
        t.to(torch.uint8).numpy() if t.dtype == torch.bool else t.numpy()


def same(got, want):
    return got is not None and set(got[0]) == set(want) and all(
        np.array_equal(got[0][n], raw(t)) and got[0][n].dtype == raw(t).dtype for n, t in want.items())


# --- what torch.save writes ---

def samples():
    torch.manual_seed(0)
    x = torch.randn(6, 5, 4, 3)
    base = torch.arange(24.0)
    types = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool)
    tensors = {f"of type {str(d)[6:]}": (10 * x).to(d) for d in types}
    tensors.update({"scalar": torch.tensor(3.5), "counter": torch.tensor(7), "empty": torch.zeros(3, 0, 2),
                    "transposed": x.permute(3, 1, 0, 2),
                    "channels last": x.to(memory_format=torch.channels_last), "every second": x[::2, 1:, ::3],
                    "expanded": torch.randn(4, 1).expand(4, 3),
                    "whole": base, "a part of it": base[5:9], "its columns": base.view(4, 6).t(),
                    "a parameter": torch.nn.Parameter(x[0]),
                    "transposed bf16": x.bfloat16().transpose(0, 3), "no weights.dots..": base[:1]})
    return tensors


def nested(tensors):
    half = list(tensors)[::2]
    return {"epoch": 3, "arch": "resnet50", "none": None, "best": 0.25, "big": 1 << 80, "minus": -3,
            "args": {"lr": 0.1, "name": "x"},
            "state_dict": OrderedDict((n, tensors[n]) for n in half),
            7: {"list": [tensors[n] for n in tensors if n not in half], "tuple": (1, "two")},
            "rng": b"bytes", "set": {1, 2}, "bits": torch.complex(torch.ones(2), torch.ones(2)), "type": torch.float16}


def test_writing(path):
    tensors = samples()
    for protocol in range(2, 6):
        torch.save(tensors, path, pickle_protocol=protocol)
        check(f"all types and strides, protocol {protocol}", same(read(path), tensors), why())
        torch.save(nested(tensors), path, pickle_protocol=protocol)
        names = list(tensors)
        want = {f"state_dict.{n}": tensors[n] for n in names[::2]}
        want.update({f"7.list.{i}": tensors[n] for i, n in enumerate(names[1::2])})
        got = read(path)
        check(f"dictionaries and lists within one another, protocol {protocol}",
              same(got, want) and got[1] == {"arch": "resnet50"},
              f"{why()} {set(got[0]) ^ set(want) if got else ''}")
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimiser = torch.optim.Adam(model.parameters())
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    optimiser.step()
    torch.save({"model": model.state_dict(), "optimizer": optimiser.state_dict()}, path)
    want = {f"model.{n}": t for n, t in model.state_dict().items()}
    got = read(path)
    check("a network and its optimiser",
          got is not None and same(({n: a for n, a in got[0].items() if n.startswith("model.")}, {}), want) and
          "optimizer.state.0.exp_avg" in got[0], why())
    torch.save(dict(model.named_parameters()), path)
    check("parameters", same(read(path), dict(model.named_parameters())), why())
    torch.save({"x" * 111: torch.ones(2), "y" * 112: torch.ones(2), "arch": 5}, path)
    check("a name that is too long is passed over", same(read(path), {"x" * 111: torch.ones(2)}), why())


# --- what is refused ---

class Storage:
    def __init__(self, key, elements, kind=torch.FloatStorage):
        self.id = ("storage", kind, key, "cpu", elements)


class Made:
    """Pickles to a tensor of any sizes."""

    def __init__(self, shape=(2,), stride=(1,), offset=0, elements=4, key="0", storage=None):
        self.arguments = (storage or Storage(key, elements), offset, shape, stride, False, OrderedDict())

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, self.arguments


class Pickler(pickle.Pickler):
    def persistent_id(self, x):
        return x.id if isinstance(x, Storage) else None


def archive(top, files=(("data/0", bytes(16)),), compression=zipfile.ZIP_STORED):
    text = io.BytesIO()
    if not isinstance(top, bytes):
        Pickler(text, 2).dump(top)
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", compression) as z:
        z.writestr("archive/data.pkl", top if isinstance(top, bytes) else text.getvalue())
        for name, data in files:
            z.writestr(f"archive/{name}", data)
    return whole.getvalue()


def circle():
    d = {}
    d["d"] = d
    return d


def laughs():
    d = {"t": Made()}
    for _ in range(12):
        d = {str(i): d for i in range(10)}
    return d


def saved(thing, **how):
    f = io.BytesIO()
    torch.save(thing, f, **how)
    return f.getvalue()


def scripted():
    f = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), f)
    return f.getvalue()


def refused():
    """(what it is, its bytes, words of the sentence)"""
    state = {"a": torch.ones(2)}
    yield "PyTorch's format before 1.6", saved(state, _use_new_zipfile_serialization=False), "torch.save(torch.load("
    yield "a TorchScript archive", scripted(), "TorchScript"
    yield "a network as an object", saved(torch.nn.Linear(2, 2)), "Python object"
    yield "a list of numbers", saved([1, 2]), "state_dict"
    yield "a pickle", pickle.dumps({"a": 1}), "torch.save"
    yield "a pickle of protocol 2", pickle.dumps({"a": 1}, 2), "torch.save"
    yield "a zip without a pickle", zip_of("other", b"x"), "data.pkl"
    yield "a compressed archive", archive({"a": Made()}, compression=zipfile.ZIP_DEFLATED), "compressed"
    yield "a big-endian archive", archive({"a": Made()}, (("data/0", bytes(16)), ("byteorder", b"big"))), "big-endian"
    yield "a missing storage", archive({"a": Made(key="1")}), "lacks"
    yield "a key of 100000 bytes", archive({"a": Made(key="k" * 100000)}), "lacks"
    for label, more in (("offset", {"offset": 3}), ("stride", {"stride": (4,)}), ("shape", {"shape": (5,)}),
                        ("product", {"shape": (2**33, 2**33), "stride": (0, 0)}),
                        ("reach", {"shape": (2**62, 2), "stride": (4, 2**61)}), ("elements", {"elements": 5, "shape": (5,)}),
                        ("wide elements", {"elements": 2**62, "shape": (2**61,)}),
                        ("offset 2^63-1", {"offset": 2**63 - 1}), ("repetition", {"shape": (10**9,), "stride": (0,)}),
                        ("repetitions", {"shape": (10**5, 10**5), "stride": (0, 0)})):
        yield f"a tensor beyond its storage by {label}", archive({"a": Made(**more)}), "unable to read"
    for label, more in (("negative shape", {"shape": (-1,)}), ("negative stride", {"stride": (-1,)}),
                        ("negative offset", {"offset": -1}), ("negative elements", {"elements": -1}),
                        ("rank 9", {"shape": (1,) * 9, "stride": (1,) * 9}), ("two ranks", {"shape": (1, 1)}),
                        ("shape a text", {"shape": "xx"}), ("shape a list", {"shape": [2]}),
                        ("stride of floats", {"stride": (1.0,)}), ("wide shape", {"shape": (2**64,)}),
                        ("offset None", {"offset": None})):
        yield f"a tensor of {label}", archive({"a": Made(**more)}), "unable to read"
    yield "a tensor without a storage", archive({"a": Made(storage=3)}), "storage"
    yield "a dictionary in itself", archive(circle()), "never end"
    yield "dictionaries shared without end", archive(laughs()), "never end"
    yield "two tensors of one name", archive({"a.b": Made(), "a": {"b": Made()}}), "'a.b'"
    for label, text in (("nothing", b""), ("no end", b"\x80\x02}"), ("an empty stack", b"\x80\x02."),
                        ("a mark alone", b"\x80\x02(."), ("an unknown operation", b"\x80\x02\xff."),
                        ("memory of nothing", b"\x80\x02h\0."), ("memory far away", b"\x80\x02}r\xff\xff\xff\x7f."),
                        ("a long text", b"\x80\x02X\xff\xff\xff\xffab."),
                        ("a key alone", b"\x80\x02}(K\x01u."), ("items of nothing", b"\x80\x02(K\x01e."),
                        ("a call of nothing", b"\x80\x02)R."), ("a pair of one", b"\x80\x02K\x01\x86."),
                        ("a text of 2^63 bytes", b"\x80\x04\x8d" + b"\xff" * 8 + b"a."),
                        ("a name without end", b"\x80\x02ctorch"), ("protocol 0", b"(dp0\n.")):
        yield f"a pickle of {label}", archive(text), "pickle"
    good = archive({"a": Made()})
    for n in [4, 5, 8, 29, 30, 31, len(good) // 2, len(good) - 23, len(good) - 22, len(good) - 21, len(good) - 1]:
        yield f"cut after {n} bytes", good[:n], "unable to read"


def zip_of(name, data):
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as z:
        z.writestr(name, data)
    return whole.getvalue()


def answer(path, word=""):
    """0: refused with a sentence that names the file and has the word; 1: accepted; 2: refused with less."""
    if read(path) is not None:
        return 1
    return 0 if path in why() and word in why() else 2


def test_refused(path):
    check("what is damaged below was whole", isinstance(whole_one(path), tuple), why())
    for label, data, word in refused():
        open(path, "wb").write(data)
        status = in_child(lambda: answer(path, word))
        answer(path)
        check(f"refused: {label}", status == 0, f"status {status}: {why()}")


def whole_one(path):
    open(path, "wb").write(archive({"a": Made()}))
    return read(path)


def test_mutations(path):
    """Random damage to a good file: refused or read, never a crash."""
    good, draw = saved({"state_dict": {"a": torch.ones(3, 2).t(), "b": torch.nn.Parameter(torch.ones(2)), "n": torch.tensor(1)},
                        "epoch": 1, "arch": "x"}), random.Random(1)

    def work():
        for _ in range(4000):
            damaged = bytearray(good)
            for _ in range(draw.randint(1, 4)):
                at = draw.randrange(len(damaged))
                tell_tale = lambda: draw.choice((0, 1, 2, 40, 46, 0x7f, 0x80, 0x85, 0xff, draw.randrange(256)))
                damaged[at:at + draw.randint(0, 2)] = bytes(tell_tale() for _ in range(draw.randint(0, 2)))
            open(path, "wb").write(damaged)
            if answer(path) == 2:
                return 2
        return 0

    status = in_child(work)
    check("4000 random damages: refused or read", status == 0, f"status {status}: {why()}")


def main():
    ctypes.c_int.in_dll(lib, "verbosity").value = -1
    with tempfile.TemporaryDirectory() as folder:
        test_writing(folder + "/weights.pth")
        test_refused(folder + "/weights.pth")
        test_mutations(folder + "/weights.pth")
    return done()


if __name__ == "__main__":
    sys.exit(main())
