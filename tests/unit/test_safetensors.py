"""test_safetensors - files of named tensors: ours read by numpy, numpy's read by us, damaged ones refused with a sentence

The reader and writer in sprat_ct are written from the format's description alone. Every damaged file is opened in a child
process, so that a crash (under sanitisers too) is one failed line.
"""
import ctypes
import json
import os
import random
import sys
import tempfile
import zlib
from ctypes import c_char_p, c_int, c_void_p

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../parity"))
from sprat_ct import check, done, lib, ptr, safetensors_read, safetensors_write, why  # noqa: E402

import numpy as np  # noqa: E402

TYPES = (np.uint8, np.int32, np.int64, np.float32, np.float16, np.uint16, np.float64)  # enum dtype; uint16 stands for BF16
for name, restype, argtypes in (
        ("open", c_void_p, [c_char_p]), ("close", None, [c_void_p]), ("counts", c_int, [c_void_p, c_void_p]),
        ("tensor", c_void_p, [c_void_p, c_int, c_char_p, c_void_p]), ("meta", None, [c_void_p, c_int, c_void_p, c_void_p]),
        ("finds", ctypes.c_bool, [c_void_p, c_char_p]),
        ("write", c_int, [c_char_p, c_int] + [c_void_p] * 3 + [c_int] + [c_void_p] * 2)):
    function = getattr(lib, "shim_safetensors_" + name)
    function.restype, function.argtypes = restype, argtypes
lib.shim_tensors_open.restype, lib.shim_tensors_open.argtypes = c_void_p, [c_char_p]


def our_read(path, read=lib.shim_safetensors_open):
    """As safetensors_read, by the library; None after fail()."""
    f = read(path.encode())
    if not f:
        return None
    meta_count, tensors, meta = c_int(), {}, {}
    for i in range(lib.shim_safetensors_counts(f, ctypes.byref(meta_count))):
        name, facts = ctypes.create_string_buffer(112), np.zeros(11, np.int64)
        data = lib.shim_safetensors_tensor(f, i, name, ptr(facts))
        raw = ctypes.string_at(data, int(facts[10]))
        tensors[name.value.decode(errors="replace")] = np.frombuffer(raw, TYPES[facts[0]]).reshape(facts[2:2 + facts[1]])
        assert data % np.dtype(TYPES[facts[0]]).itemsize == 0 and lib.shim_safetensors_finds(f, name.value)
    for i in range(meta_count.value):
        key, value = c_char_p(), c_char_p()
        lib.shim_safetensors_meta(f, i, ctypes.byref(key), ctypes.byref(value))
        meta[key.value.decode()] = value.value.decode(errors="replace")
    assert not lib.shim_safetensors_finds(f, b"") and not lib.shim_safetensors_finds(f, b"n" * 200)
    lib.shim_safetensors_close(f)
    return tensors, meta


def our_write(path, rows, meta=()):
    """rows: (name as bytes, array); meta: (key, value) as bytes."""
    facts = np.zeros((len(rows), 10), np.int64)
    for i, (_, a) in enumerate(rows):
        facts[i, 0], facts[i, 1] = TYPES.index(a.dtype.type), a.ndim
        facts[i, 2:2 + a.ndim] = a.shape
    texts = [(c_char_p * max(1, len(t)))(*t) for t in ([n for n, _ in rows], [k for k, _ in meta], [v for _, v in meta])]
    data = (c_void_p * max(1, len(rows)))(*[a.ctypes.data for _, a in rows])
    return lib.shim_safetensors_write(path.encode(), len(rows), texts[0], ptr(facts), data, len(meta), texts[1], texts[2])


def same(a, b):
    facts = [{n: (t.dtype, t.shape, t.tobytes()) for n, t in tensors.items()} for tensors in (a, b)]
    return facts[0] == facts[1]


def samples():
    draw = np.random.default_rng(1)
    shapes = ((), (0,), (3, 0, 2), (7,), (5, 3), (2, 1, 3, 1, 2, 1, 1, 2))
    return {f"{np.dtype(t).name}.{'x'.join(map(str, s))}": draw.integers(0, 100, s).astype(t) for t in TYPES for s in shapes}


SUM = ("sprat.crc32", "sprat.crc32_of")
META = {"arch": "resnet18", "empty": "", "text": "tab\t quote\" back\\slash newline\n", "ünï": "ĉodé 日本"}


# --- both ways ---

def test_ours_by_numpy(path):
    rows, meta = list(samples().items()), [(k.encode(), v.encode()) for k, v in META.items()]
    check("we write", our_write(path, [(n.encode(), a) for n, a in rows], meta) == 0, why())
    raw = open(path, "rb").read()
    tensors, read_meta = safetensors_read(path)
    sum_of = [read_meta.pop(k) for k in SUM]
    check("numpy reads what we write", same(tensors, dict(rows)) and read_meta == META, "it differs")
    zeros = raw.replace(b'"sprat.crc32":"' + sum_of[0].encode(), b'"sprat.crc32":"00000000')
    check("the checksum is zlib's", len(zeros) == len(raw) and sum_of[0] == f"{zlib.crc32(zeros):08x}", sum_of)
    header = json.loads(raw[8:8 + int.from_bytes(raw[:8], "little")])
    spans = sorted(e["data_offsets"] for n, e in header.items() if n != "__metadata__")
    contiguous = spans[0][0] == 0 and all(a[1] == b[0] for a, b in zip(spans, spans[1:]))
    check("no holes, whole file", contiguous and spans[-1][1] == len(raw) - 8 - int.from_bytes(raw[:8], "little"), str(spans))
    aligned = all(header[n]["data_offsets"][0] % a.itemsize == 0 for n, a in rows)
    check("every tensor is aligned", aligned and int.from_bytes(raw[:8], "little") % 8 == 0, "it is not")
    our_write(path, [(n.encode(), a) for n, a in reversed(rows)], meta)
    check("the order given does not matter", open(path, "rb").read() == raw, "the bytes differ")
    tensors, read_meta = our_read(path)
    read_meta = {k: v for k, v in read_meta.items() if k not in SUM}
    check("we read what we write", same(tensors, dict(rows)) and read_meta == META, "it differs")
    check("tensors are sorted by name", list(tensors) == sorted(tensors), "they are not")
    empty = our_write(path, []) == 0 and our_read(path) == ({}, {}) and safetensors_read(path) == ({}, {})
    check("an empty file of tensors", empty, why())


def test_numpy_by_us(path):
    tensors = samples()
    for seed in range(4):
        names = list(tensors)
        random.Random(seed).shuffle(names)  # any order of the data: 8-byte types at odd offsets, too
        safetensors_write(path, {n: tensors[n] for n in names}, META if seed % 2 else None)
        found, meta = our_read(path) or ({}, None)
        check(f"we read what numpy writes, order {seed}", same(found, tensors) and meta == (META if seed % 2 else {}), why())
    safetensors_write(path, {"n" * 111: np.zeros(1, np.float32)})
    check("a name of 111 bytes", our_read(path) is not None, why())
    open(path, "wb").write(assembled(b'{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}', b"abc"))
    check("a header without padding", our_read(path) is not None, why())


def test_refused_writing(path):
    our_write(path, [(b"old", np.zeros(3, np.uint8))])
    one, other = np.zeros(2, np.float32), np.ones(2, np.float32)
    for label, rows, meta, word in (
            ("two tensors of one name", [(b"a", one), (b"a", other)], (), "'a'"),
            ("a name that is no UTF-8", [(b"a\xff", one)], (), "UTF-8"),
            ("metadata that is no UTF-8", [(b"a", one)], [(b"k", b"\xc3")], "UTF-8"),
            ("a tensor called __metadata__", [(b"__metadata__", one)], (), "__metadata__")):
        refused = our_write(path, rows, meta) < 0 and word in why()
        check(f"writing refuses {label}", refused and list(safetensors_read(path)[0]) == ["old"], why())
    check("writing refuses a missing folder", our_write(path + "/x/y", [(b"a", one)]) < 0 and path in why(), why())


# --- damage ---

def assembled(header, data=b"", size=None):
    return (len(header) if size is None else size).to_bytes(8, "little") + header + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8), **more):
    return dict(dtype=dtype, shape=list(shape), data_offsets=list(offsets), **more)


def described(data=b"\0" * 8, **entries):
    return assembled(json.dumps(entries).encode(), data)


def damaged():
    """(what is wrong, the bytes)."""
    good = described(a=entry(), b=entry(offsets=(8, 16)), data=b"\0" * 16)
    yield from ((f"cut after {n} bytes", good[:n]) for n in list(range(0, 9)) + list(range(10, len(good), 7)) + [len(good) - 1])
    yield "one byte too many", good + b"\0"
    for size in (len(good), 100000001, 2**31, 2**32 + 5, 2**63, 2**64 - 1, 2**64 - 8):
        yield f"header size {size}", size.to_bytes(8, "little") + good[8:]
    for header in (b"", b"{", b"[]", b"3", b"null", b'"x"', b"{}{}", b"{} x", b"\xff\xfe{}", b"{\0}", b'{"a":}', b"[" * 100000,
                   b'{"a":' * 5000, b'{"a":NaN}', b'{"\xff":1}', b'{"a\\u0000b":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
                   b'{"a":{}}', b'{"a":[]}', b'{"a":1}'):
        yield f"header {header[:24]!r} of {len(header)}", assembled(header)
    twice = b'{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
    yield "one name twice", assembled(b'{"a":' + twice + b',"a":' + twice + b"}", b"\0" * 8)
    yield "one key twice", assembled(b'{"a":{"dtype":"U8",' + twice[1:] + b"}", b"\0" * 8)
    yield "metadata twice", assembled(b'{"__metadata__":{},"__metadata__":{}}')
    for meta in ([], 3, "x", {"a": 1}, {"a": {}}, {"a": None}):
        yield f"metadata {meta!r}", described(b"", __metadata__=meta)
    for key in ("dtype", "shape", "data_offsets"):
        yield f"no {key}", described(a={k: v for k, v in entry().items() if k != key})
    for dtype in ("F8_E4M3", "BOOL", "f32", "", 3, None, ["F32"]):
        yield f"dtype {dtype!r}", described(a=entry(dtype))
    for shape in ((3,), (1,), (-2,), (-1, -2), (2.0,), ("2",), ((2,),), (2, 2**62), (2**33, 2**33), (2**62, 4), (2**63,),
                  (2**64 + 2,), (1,) * 9, (2**61 + 2,), (2**32, 2**32, 2)):
        yield f"shape {shape}", described(a=entry(shape=shape))
    yield "shape 2", described(a=dict(entry(), shape=2))
    for offsets in ((8, 0), (0, 7), (0, 9), (1, 9), (-8, 0), (0, 16), (0,), (0, 8, 16), (), (0.0, 8.0), ("0", "8"), (0, None),
                    (0, 2**63 - 1), (2**63 - 8, 2**63 - 1), (-2**63, 2**63 - 1)):
        yield f"offsets {offsets}", described(a=entry(offsets=offsets))
    yield "offsets 8", described(a=dict(entry(), data_offsets=8))
    yield "an overlap", described(a=entry(), b=entry(offsets=(4, 12)), data=b"\0" * 12)
    yield "the same bytes twice", described(a=entry(), b=entry())
    yield "a hole", described(a=entry(), b=entry(offsets=(12, 20)), data=b"\0" * 20)
    yield "a hole before", described(a=entry(offsets=(4, 12)), data=b"\0" * 12)
    yield "a hole behind", described(a=entry(), data=b"\0" * 12)
    yield "data without a tensor", described(b"\0" * 8)
    yield "an empty tensor outside", described(a=entry(), b=entry(shape=(0,), offsets=(4, 4)))
    yield "a name of 112 bytes", described(**{"n" * 112: entry()})
    yield "a name of 100000 bytes", described(**{"n" * 100000: entry()})


def in_child(work):
    """Exit status of work() in a child; what a sanitiser says goes to stderr."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 77
        try:
            status = work()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def opened(path):
    """0: refused with a sentence that names the file; 1: accepted; 2: refused in silence."""
    if our_read(path) is not None:
        return 1
    return 0 if path in why() and len(why()) > len(path) + 20 else 2


def test_damaged(path):
    words = {1: "it was accepted", 2: "no sentence names the file", 77: "it confuses the reader"}
    for label, raw in damaged():
        open(path, "wb").write(raw)
        status = in_child(lambda: opened(path))
        check(f"refused: {label}", status == 0, words.get(status, f"status {status}"))
    for label, other in (("a missing file", path + ".none"), ("a folder", os.path.dirname(path)), ("a device", "/dev/null")):
        check(f"refused: {label}", in_child(lambda: opened(other)) == 0, "it is not, or in silence")


def test_checksum(path):
    """A file that has a checksum is refused whatever byte of it changes, and however it is cut."""
    rows = [(b"a", np.arange(5, dtype=np.float32)), (b"none", np.zeros(0, np.float32)), (b"b", np.arange(3, dtype=np.uint8))]
    our_write(path, rows, [(b"step", b"10"), (b"text", b'a quoted "sprat.crc32":"12345678" is no checksum')])
    good, accepted = open(path, "rb").read(), []
    check("a whole file is read", our_read(path) is not None, why())
    for at in range(len(good)):
        for bit in (1, 2, 32, 128):
            with open(path, "wb") as f:
                f.write(good[:at] + bytes([good[at] ^ bit]) + good[at + 1:])
            accepted += [(at, bit)] * (our_read(path) is not None or path not in why())
    check("a flipped bit anywhere is refused", not accepted, f"{len(accepted)} of {4 * len(good)}: {accepted[:5]}")
    cut = []
    for size in range(len(good)):
        with open(path, "wb") as f:
            f.write(good[:size])
        cut += [size] * (our_read(path) is not None)
    check("a cut file is refused", not cut, cut[:5])
    meta = {k: v for k, v in safetensors_read(path)[1].items()} if our_write(path, rows, [(b"step", b"10")]) == 0 else {}
    safetensors_write(path, {"a": np.ones(5, np.float16)}, meta)
    check("a file that another program made of ours is read where it may be one",
          our_read(path, lib.shim_tensors_open) is not None, why())
    check("and not where it may not", our_read(path) is None and "checksum" in why(), why())
    with open(path, "wb") as f:
        f.write(good[:-1] + bytes([good[-1] ^ 1]))
    check("a damaged file of ours is refused there, too", our_read(path, lib.shim_tensors_open) is None and "checksum" in why(),
          why())
    safetensors_write(path, {"a": np.zeros(2, np.float32)}, {"step": "10", "crc32": "another's"})
    check("a file without checksum is read", our_read(path) is not None, why())


def test_mutations(path):
    """Random damage to a good file: refused or read, never a crash."""
    names = [n for n in samples() if n.endswith((".7", ".5x3", "."))]
    safetensors_write(path, {n: samples()[n] for n in names}, META)
    good, draw = open(path, "rb").read(), random.Random(1)
    pieces = [b"", b"0", b"9", b"-", b"[", b"}", b'"', b",", b"e", b"\\"] + [bytes([n]) for n in range(0, 256, 15)]
    end = 8 + int.from_bytes(good[:8], "little")

    def work():
        for _ in range(3000):
            raw = bytearray(good)
            for _ in range(draw.randint(1, 4)):
                at = draw.randrange(end)
                raw[at:at + draw.randint(0, 2)] = draw.choice(pieces)
            open(path, "wb").write(raw)
            if opened(path) == 2:
                return 2
        return 0

    status = in_child(work)
    check("3000 random damages: refused or read", status == 0, f"status {status}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = folder + "/model.safetensors"
        test_ours_by_numpy(path)
        test_numpy_by_us(path)
        test_refused_writing(path)
        test_damaged(path)
        test_checksum(path)
        test_mutations(path)
    return done()


if __name__ == "__main__":
    sys.exit(main())
