"""What make chooses before it compiles: oneDNN where it is one that the sources know, else a sentence and OpenBLAS alone"""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "pipe"))
from lines import ROOT, check, done, folder

OBJECT = ("make", "-n", "-W", "lib/tensor/backends.c", "B=build/nowhere", "build/nowhere/lib/tensor/backends.o")
HEADER = """#define DNNL_RUNTIME_SEQ 1
#define DNNL_RUNTIME_OMP 2
#define DNNL_RUNTIME_TBB 4
#define DNNL_VERSION_MAJOR %d
#define DNNL_CPU_THREADING_RUNTIME %s
"""


def chosen(d, major, threads):
    """(whether the sources are told of oneDNN, what make says)"""
    with open(f"{d}/dnnl.h", "w") as f:
        f.write(HEADER % (major, threads))
    env = {n: v for n, v in os.environ.items() if not n.startswith(("MAKE", "MFLAGS")) and n not in ("BLAS", "SYSROOT", "CC")}
    run = subprocess.run(OBJECT, cwd=ROOT, env={**env, "CPATH": d}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return "-DWITH_ONEDNN" in run.stdout, run.stderr.strip().split("\n"), run.returncode


def main():
    with folder() as d:
        for major in (2, 3):
            told, said, status = chosen(d, major, "DNNL_RUNTIME_OMP")
            check(f"oneDNN {major} is taken", told and said == [""] and status == 0, f"{told} {said}")
        for name, major, threads in (("1", 1, "DNNL_RUNTIME_OMP"), ("4", 4, "DNNL_RUNTIME_OMP"),
                                     ("3 with other threads", 3, "DNNL_RUNTIME_TBB")):
            told, said, status = chosen(d, major, threads)
            check(f"oneDNN {name} is left out, with one sentence", not told and len(said) == 1 and "oneDNN" in said[0]
                  and status == 0, f"{told} {said}")
    done()


if __name__ == "__main__":
    main()
