"""shape.py [FOLDER] - house rules about the tree's shape: one sentence for each offence, nothing where there is none

files      at most 400 lines
lines      at most 130 columns, tabs being 8
names      of a C file, without .c or .h, belong to one place: no two modules share one (programs' main.c apart)
circles    no module of lib or cmd includes itself by way of others; NAME.c and NAME.h are one module
exports    a function that a header of lib declares begins with a word of the header's name or with the name less a plural's s,
           so with that of a module of its wing that defines what it declares, or with a struct or enum it speaks of

Exceptions are listed here by path, and one that is none any more is an offence, too."""
import os
import re
import subprocess
import sys

LINES, COLUMNS = 400, 130
LONG = ()
WIDE = ()
CIRCLES = ()
EXPORTS = ("lib/base/base.h", "lib/base/files.h", "lib/base/progress.h", "lib/base/rng.h")   # words of the house's own


def tracked(root):
    """Paths of the tree's code: what git knows or would add, without git everything but what is built"""
    git = subprocess.run(("git", "-C", root, "ls-files", "-co", "--exclude-standard"), stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, text=True)
    paths = git.stdout.split("\n")
    if git.returncode:
        paths = [os.path.relpath(os.path.join(d, f), root) for d, _, files in os.walk(root) for f in files]
    return sorted(p for p in paths if p and p.split("/")[0] not in ("build", "bin") and os.path.isfile(os.path.join(root, p)))


def is_code(path, text):
    return path.endswith((".c", ".h", ".py", ".sh", "Makefile")) or text.startswith("#!")


def read(root):
    """{path: lines} of all code"""
    code = {}
    for path in tracked(root):
        with open(os.path.join(root, path), errors="replace") as f:
            text = f.read()
        if is_code(path, text):
            code[path] = text.split("\n")[:-1] if text.endswith("\n") else text.split("\n")
    return code


def files(code):
    for path, lines in code.items():
        if len(lines) > LINES:
            yield path, f"{path} has {len(lines)} lines: more than {LINES}; split it by what it is about"


def widths(code):
    for path, lines in code.items():
        for number, line in enumerate(lines, 1):
            width = len(line.expandtabs(8))
            if width > COLUMNS:
                yield path, f"{path}:{number} is {width} columns wide: more than {COLUMNS}; break the line"


def names(code):
    modules = {}
    for path in code:
        if path.endswith((".c", ".h")) and os.path.basename(path) != "main.c":
            modules.setdefault(os.path.basename(path)[:-2], set()).add(path[:-2])
    for name, paths in sorted(modules.items()):
        if len(paths) > 1:
            yield name, f"{' and '.join(sorted(paths))} share the name '{name}': call each by what it alone is"


def includes(code):
    """{module: modules that its files include}, of lib and cmd"""
    edges = {}
    for path, lines in code.items():
        if path.endswith((".c", ".h")) and path.startswith(("lib/", "cmd/")):
            found = (re.match(r'#include "((?:lib|cmd)/[^"]+)\.h"', line) for line in lines)
            edges.setdefault(path[:-2], set()).update(m.group(1) for m in found if m and m.group(1) != path[:-2])
    return edges


def circles(code):
    """The shortest way round from each module that is on one, each circle once"""
    edges, told = includes(code), set()
    for start in sorted(edges):
        came, queue = {start: None}, [start]
        for module in queue:
            if start in edges.get(module, ()):
                way = [start]
                while module:
                    way.insert(0, module)
                    module = came[module]
                if not told & set(way):
                    told |= set(way)
                    yield start, f"{' -> '.join(way)} is a circle of includes: put what both need below them"
                break
            for to in sorted(edges.get(module, ())):
                if to not in came:
                    came[to] = module
                    queue.append(to)


def functions(lines):
    """(number, name) of each line that declares a function or begins its definition, static ones apart"""
    for number, line in enumerate(lines, 1):
        found = re.match(r"(?!static |typedef |INLINE )\w[\w *]*[ *](\w+)\(", line)
        if found:
            yield number, found.group(1)


def wing(path):
    return path.split("/")[1]


def words(path):
    """What names of a module's functions may begin with"""
    name = os.path.basename(path)[:-2]
    return {name, name.removesuffix("s"), *name.split("_")}


def exports(code):
    code = {path: lines for path, lines in code.items() if path.startswith("lib/") and path.endswith((".c", ".h"))}
    source = {(wing(path), name): path for path, lines in code.items() if path.endswith(".c") for _, name in functions(lines)}
    for path, lines in code.items():
        if path.endswith(".h"):
            declared = list(functions(lines))
            sources = {source[wing(path), name] for _, name in declared if (wing(path), name) in source}
            known = words(path).union(*map(words, sources), re.findall(r"\b(?:struct|enum) (\w+)", "\n".join(lines)))
            for number, name in declared:
                if not any(f"{name}_".startswith(f"{word}_") for word in known):
                    yield path, (f"{path}:{number} declares {name}, named for no module, struct or enum that it has to do with: "
                                 "begin the name with what it is about")


def excused(offences, exceptions):
    """The sentences of those that no exception covers, and one for each exception that covers none"""
    used = set()
    for key, sentence in offences:
        cover = [e for e in exceptions if key.startswith(e)]
        used.update(cover)
        if not cover:
            yield sentence
    for e in exceptions:
        if e not in used:
            yield f"{e} is an exception in tests/lint/shape.py without an offence: take it out"


def offences(root, long=LONG, wide=WIDE, round_trips=CIRCLES, vocabulary=EXPORTS):
    code = read(root)
    yield from excused(files(code), long)
    yield from excused(widths(code), wide)
    yield from excused(names(code), ())
    yield from excused(circles(code), round_trips)
    yield from excused(exports(code), vocabulary)


if __name__ == "__main__":
    for sentence in offences(sys.argv[1] if len(sys.argv) > 1 else "."):
        print(sentence)
