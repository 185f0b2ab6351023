"""SPRAT_ISA is one law for all four programs: a name of no level, or of one that this machine lacks, is refused when they
start."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "pipe"))
import lines
from lines import BIN, check, environment, skip

LEVELS = ("base", "avx2", "avx512", "avx512bf16", "amx")
COMMANDS = {"augment": ["/nowhere"], "encode": ["--eval", "-w", "/nowhere"], "loss": ["moco"], "probe": ["knn"]}


def said(tool, isa):
    """Status, and the lines on stderr; each command finds another fault when the level is right."""
    r = subprocess.run([f"{BIN}/{tool}", *COMMANDS[tool]], env=environment(SPRAT_ISA=isa), stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL,
                       stderr=subprocess.PIPE, text=True, timeout=20)
    return r.returncode, r.stderr.splitlines()


def refused(answer):
    return any("SPRAT_ISA" in line for line in answer[1])


def test_all(name, isa, *words):
    answers = {tool: said(tool, isa) for tool in COMMANDS}
    sentences = {line.split(": ", 1)[1] for _, found in answers.values() for line in found}
    alone = all(code == 2 and len(found) == 1 and found[0].startswith(f"{tool}: ") for tool, (code, found) in answers.items())
    check(name, alone and len(sentences) == 1 and all(word in sentences.copy().pop() for word in words), answers)


def main():
    test_all("an unknown name", "mmx", "'mmx'", *LEVELS)
    lacking = [isa for isa in LEVELS if refused(said("loss", isa))]
    most = LEVELS[len(LEVELS) - len(lacking) - 1]
    check("levels are in order", lacking == list(LEVELS[len(LEVELS) - len(lacking):]) and "base" not in lacking, lacking)
    for isa in LEVELS[: LEVELS.index(most) + 1] + ("",):
        taken = {tool: said(tool, isa) for tool in COMMANDS}
        check(f"{isa or 'an empty name'} is taken", not any(map(refused, taken.values())), taken)
    for isa in lacking:
        test_all(f"{isa}, which this machine lacks", isa, f"'{isa}'", most)
    if not lacking:
        skip("a level that the machine lacks", "it has them all")


main()
lines.done()
