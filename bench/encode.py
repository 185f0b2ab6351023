"""encode - the table of training steps: `feeder | encode | loss` beside PyTorch at its best, f32 and bf16

    encode.py --theirs 'PREFIX python3 bench' [--archs A,B] [--sizes 224:32,32:256] [--precisions f32,bf16] [--queue K] [--avx2]

Two JSON lines a cell: milliseconds, and the peak resident set of encode beside that of PyTorch in f32. PyTorch is first tried
on a quarter of the batch: both layouts, f32 and bf16 (torch_step --screen), with and without ATEN_CPU_CAPABILITY=avx512, then
the better of these on the other flavour of OpenBLAS (--blas: the folder of the OpenMP one). Of each precision the best way, or
a second that was nearly as good and is better on the whole batch, then runs in turns with ours (pair.py), after three steps of
warm-up. Ours in bf16 has to beat PyTorch's fastest of any precision. 32 pixels are networks for small images (--small).

--avx2: f32 where processors end at AVX2, ours and theirs. Floors are the ratios that sprat has to reach.
"""
import argparse
import json
import subprocess
import sys
import time
from types import SimpleNamespace

from pair import Contender, Lost, able, dismiss_hopeless, report, take_turns

ARCHS = ("resnet18", "mobilenet_v3_large", "mobilenet_v3_small", "efficientnet_b0", "deit_tiny")
FLOORS = {  # of the time, in the order of ARCHS
    ("f32", 224): (1.1, 2, 2, 1.7, 1.3),
    ("f32", 32): (1.2, 2.5, 2.5, 2, 1.5),
    ("bf16", 224): (1.5, 2.7, 2.8, 2.4, 1.8),
    ("bf16", 32): (1.8, 3.5, 3, 2.8, 1.8),
}
MEMORY_FLOORS = {"f32": 2, "bf16": 2.5}
CLEARLY = 1.1  # slower by this in the trial: hopeless
NATIVE = ("avx512_bf16", "amx_bf16")  # without them PyTorch computes bf16 value by value: minutes a step
AVX2 = "DNNL_MAX_CPU_ISA=AVX2 OPENBLAS_CORETYPE=Haswell"


def small(size):
    return "--small" if size <= 64 else ""


def trial(o, arch, size, batch, precisions, environment):
    """(ms, environment, layout, precision) of both layouts in these precisions."""
    command = f"{environment} {o.theirs}/torch_step.py {arch} {small(size)} --size {size} --batch {max(1, batch // 4)} " \
              f"--queue {o.queue} --screen {','.join(precisions)}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    if done.returncode != 0:
        print(f"# skipped: {command}: {' | '.join(done.stderr.splitlines()[-3:])}", file=sys.stderr)
        return []
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return [(row["ms"], environment, row["layout"], row["precision"]) for row in rows]


def screen(o, *case):
    """What the trials say, fastest first."""
    levels = [f"ATEN_CPU_CAPABILITY=avx2 {AVX2}"] if o.avx2 else ["", "ATEN_CPU_CAPABILITY=avx512"]
    ways = sorted(way for level in levels for way in trial(o, *case, level))
    if ways and o.blas:
        ways = sorted(ways + trial(o, *case, f"{ways[0][1]} LD_LIBRARY_PATH={o.blas}"))
    for ms, *way in ways:
        print(f"# trial: {case[0]} {case[1]}: {ms:.4g} ms: {' '.join(way)}", file=sys.stderr)
    return ways


def theirs(o, arch, size, batch, precision, ways):
    """The best way of a precision, and a second one that is nearly as good; none where f32 is clearly faster."""
    fastest, ways = ways[:1], [w for w in ways if w[3] == precision]
    if not ways or precision != "f32" and ways[0][0] > CLEARLY * fastest[0][0]:
        return []
    return [Contender(1, f"{e} {o.theirs}/torch_step.py {arch} {small(size)} --size {size} --batch {batch} --queue {o.queue} "
                         f"--layout {layout} --precision {precision}")
            for ms, e, layout, _ in ways[:2] if ms <= CLEARLY * ways[0][0]]


def ours(o, arch, size, batch, precision):
    option = "" if precision == "f32" else f"--precision {precision}"
    line = f"feeder -q --size {size} --batch {batch} | encode -q -a {arch} {small(size)} --head linear {option} | " \
           f"loss -q moco:t=0.1,k={o.queue}"
    return Contender(1, f"export SPRAT_ISA=avx2 {AVX2}; {line}" if o.avx2 else line)


def floor(o, precision, arch, size):
    if o.avx2:
        return [1.0]
    return [FLOORS[precision, size][ARCHS.index(arch)]] if (precision, size) in FLOORS and arch in ARCHS else []


def cells(o, arch, size, batch, mine, rivals):
    for precision, c in mine.items():
        name = f"{arch} {small(size)} {size}, batch {batch}, {precision}, K={o.queue}".replace("  ", " ")
        against = [r for p, rs in rivals.items() for r in rs if precision == "bf16" or p == "f32"]
        row = SimpleNamespace(what="avx2" if o.avx2 else "encode", case=name, batch=batch)
        row.keys, row.floors = ["ms"], floor(o, precision, arch, size)
        report(row, c, against)
        if not o.avx2:
            row.keys, row.floors = ["mb"], [MEMORY_FLOORS[precision]] if size == 224 else []
            report(row, c, rivals["f32"])


def group(o, arch, size, batch):
    """The cells of one architecture and size. False: there is none."""
    mine, rivals, begun = {}, {}, []

    def begin(contenders):
        begun.extend(contenders)
        return able(o, contenders)

    try:
        for p in o.precisions:
            mine.update((p, c) for c in begin([ours(o, arch, size, batch, p)]))
        precisions = sorted({"f32", *mine} - ({"bf16"} if o.emulated else set()))
        rivals = dict.fromkeys(mine, [])
        ways = screen(o, arch, size, batch, precisions) if mine else []
        for p in precisions:
            started = begin(theirs(o, arch, size, batch, p, ways))
            rivals[p] = dismiss_hopeless(started, "ms", batch, 1) if started else []
        if not mine or not rivals["f32"]:
            raise Lost(f"{'PyTorch' if mine else 'encode'} does not start")
        take_turns(o, [*mine.values(), *sum(rivals.values(), [])])
        cells(o, arch, size, batch, mine, rivals)
        return True
    except Lost as e:
        print(f"# no result for {arch} at {size}: {e}", file=sys.stderr)
        return False
    finally:
        for c in begun:
            c.end()


def words(text):
    return text.replace(",", " ").split()


def architectures(text):
    told = subprocess.run(["encode", "-a", "list"], capture_output=True, text=True).stdout
    known = [line.split()[0] for line in told.splitlines() if line[:1].strip()]
    unknown = [name for name in words(text) if name not in known]
    if unknown or not words(text):
        raise argparse.ArgumentTypeError(f"'{(unknown or [text])[0]}' names no architecture: give some of {', '.join(known)}")
    return words(text)


def sizes(text):
    try:
        cells = [tuple(int(n) for n in word.split(":")) for word in words(text)]
    except ValueError:
        cells = []
    if not cells or any(len(c) != 2 or min(c) < 1 for c in cells):
        raise argparse.ArgumentTypeError(f"'{text}' is no list of sizes: give pixels and batch, as in 224:32,32:256")
    return cells


def emulated():
    """Whether this processor has no instructions for bf16, and PyTorch's is left out."""
    with open("/proc/cpuinfo") as f:
        flags = next((set(line.split()) for line in f if line.startswith("flags")), set())
    if not flags.isdisjoint(NATIVE):
        return False
    print(f"# PyTorch's bf16 is left out: this processor has neither {' nor '.join(NATIVE)}, "
          "and without them it takes minutes a step",
          file=sys.stderr)
    return True


def arguments():
    p = argparse.ArgumentParser()
    p.print_usage = lambda file=None: None
    p.add_argument("--theirs", required=True)
    p.add_argument("--blas")
    p.add_argument("--archs", type=architectures, default=ARCHS)
    p.add_argument("--sizes", type=sizes, default=[(224, 32), (32, 256)])
    p.add_argument("--precisions", type=words, default=["f32", "bf16"])
    p.add_argument("--queue", type=int, default=65536)
    p.add_argument("--turns", type=int, default=2)
    p.add_argument("--lines", type=int, default=4)
    p.add_argument("--patience", type=float, default=180)
    p.add_argument("--avx2", action="store_true")
    p.add_argument("--check", action="store_true", help="say nothing but whether the lists can be read")
    p.set_defaults(one_core=False, peak=["encode", "python3"])
    o = p.parse_args()
    if o.check:
        sys.exit(0)
    if o.avx2:
        o.precisions = ["f32"]
    o.emulated = "bf16" in o.precisions and emulated()
    return o


def main():
    o, start = arguments(), time.monotonic()
    try:
        good = [group(o, arch, *size) for size in o.sizes for arch in o.archs]
    except KeyboardInterrupt:
        sys.exit(130)
    print(f"# the table took {time.monotonic() - start:.0f} s", file=sys.stderr)
    sys.exit(0 if all(good) else 1)


main()
