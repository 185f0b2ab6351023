"""check.py - the lines of a test in Python that tests/run counts

    check("the file is whole", size == 12, f"{size} bytes")     ok, or not ok with what was found
    skip("real photos", "DATA names no folder with them")
    done()                                                      the end: exits with 1 when a check was not good
"""
import sys

_failures = 0


def check(name, good, why=""):
    global _failures
    _failures += not good
    why = " | ".join(str(why).strip().splitlines())
    print(f"ok - {name}" if good else f"not ok - {name}: {why}", flush=True)
    return bool(good)


def skip(name, why):
    print(f"skip - {name}: {why}", flush=True)


def done():
    sys.exit(1 if _failures else 0)
