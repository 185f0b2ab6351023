"""isa_sets - instruction sets, one after another in one process: those of this machine, and AMX emulated where it has none"""
import os

from sprat_ct import lib, skip, why

ISAS = ("base", "avx2", "avx512", "avx512bf16", "amx")
EMULATED = "emulated amx"               # shim_amx.c
MOST = os.environ.get("SPRAT_ISA", "")   # tests/kind: as on a machine that has no more


def choose(isa):
    """False: this machine has no such instructions."""
    emulated = isa == EMULATED
    found = lib.isa_choose(("avx512bf16" if emulated else isa or MOST).encode()) == 0
    return found and lib.amx_emulate(emulated) == 0


def here(isa, what):
    """Chooses it; where this machine has none, says what is left out."""
    found = choose(isa)
    if not found:
        skip(f"{isa}: {what}", why())
    return found


def sets(what):
    """Those of this machine, the widest last; of the others says that what is left out."""
    return [isa for isa in ISAS[: ISAS.index(MOST) + 1 if MOST else None] if here(isa, what)]
