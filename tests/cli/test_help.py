"""--help, --version and the lists of names: on stdout with status 0, and the same in the man pages."""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "pipe"))
import lines
from lines import BIN, ROOT, TOOLS, check

LISTS = {"augment": [["--recipe", "list"]], "encode": [["-a", "list"], ["--optim", "list"], ["--schedule", "list"]],
         "loss": [["list"]], "probe": [["list"]]}


def run(tool, *words, width=80):
    return subprocess.run([f"{BIN}/{tool}", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20,
                          env=dict(os.environ, COLUMNS=str(width)))


def manual(tool):
    """The page as a reader sees it, without hyphens that break words."""
    path = f"{ROOT}/cmd/{tool}/{tool}.1"
    command = ["mandoc", "-T", "utf8", "-O", "width=200", path]
    text = subprocess.run(command, capture_output=True, text=True).stdout if has("mandoc") else ""
    text = text or subprocess.run(["man", "-l", path], capture_output=True, text=True,
                                  env={**os.environ, "MANWIDTH": "200"}).stdout
    text = re.sub(".\b", "", text)
    return text.replace("\u2010", "-").replace("\u2212", "-")


def has(program):
    return any(os.access(f"{d}/{program}", os.X_OK) for d in os.environ["PATH"].split(":"))


def test_help(tool, page):
    for word in ("--help", "-h"):
        r = run(tool, word)
        check(f"{tool} {word}", r.returncode == 0 and r.stdout.startswith(f"usage: {tool} ") and not r.stderr,
              f"{r.returncode} {r.stderr}")
    for word in ("--version", "-V"):
        r = run(tool, word)
        form = rf"{tool} \(sprat\) \d+\.\d+\.\d+[^\n]*\n(?:[^\n]*\n)*"
        check(f"{tool} {word}", r.returncode == 0 and re.fullmatch(form, r.stdout) and not r.stderr, r.stdout + r.stderr)
    text = run(tool, "--help").stdout
    for width in (60, 80, 120):
        rows = "".join(re.findall(r"^  (?:-\w, |    )--.*\n(?: {8,}.*\n)*", run(tool, "--help", width=width).stdout,
                                  re.M)).split("\n")
        check(f"{tool} --help fits {width} columns", max(map(len, rows)) < width, max(rows, key=len))
    options = re.findall(r"^  (?:-(\w), |    )--([\w-]+)(?: ([A-Z]\S*))? ", text, re.M)
    check(f"{tool} --help lists options", len(options) >= 6, text)
    for letter, name, _ in options:
        check(f"--{name} stands in {tool}.1", re.search(rf"(?<![\w-])--{name}(?![\w-])", page) and
              (not letter or re.search(rf"(?<![\w-])-{letter}(?![\w-])", page)))
    named = set(re.findall(r"(?<![\w-])--([a-z][\w-]+)", page.split("SEE ALSO")[0]))
    others = {n for t in TOOLS for _, n, _ in re.findall(r"^  (?:-(\w), |    )--([\w-]+)(?: ([A-Z]\S*))? ",
                                                         run(t, "--help").stdout, re.M)}
    check(f"{tool}.1 names no option that does not exist", named <= others, named - others)


def test_lists(tool, page):
    for words in LISTS[tool]:
        r = run(tool, *words)
        names = re.findall(r"^(?:  )?([a-z][\w-]*)", r.stdout, re.M)
        check(f"{tool} {' '.join(words)}", r.returncode == 0 and names and not r.stderr, f"{r.returncode} {r.stdout} {r.stderr}")
        keys = set(re.findall(r"(?<=[ ])([a-z]\w*)=\S", re.sub(r"(?m)^\S+", "", r.stdout.split("\nKeys")[0])))
        told = set(re.findall(r"^    ([a-z]\w*)  +\S", r.stdout.partition("\nKeys")[2], re.M))
        check(f"{tool} {' '.join(words)}: each key has a default and a meaning", keys == told and len(set(names)) == len(names),
              f"{keys} {told}")
        narrow = run(tool, *words, width=56).stdout
        check(f"{tool} {' '.join(words)} is wrapped, losing no word", max(map(len, narrow.split("\n"))) <= 56
              and narrow.split() == r.stdout.split(),
              max(narrow.split("\n"), key=len))
        missing = [n for n in names if not re.search(rf"(?<![\w-]){n}(?![\w-])", page)]
        check(f"{tool}.1 names what '{' '.join(words)}' lists", not missing, missing)


def test_misuse(tool):
    for words in (["--nonsense"], ["-%"], ["-j"], ["-j", "many"], ["--jobs=-1"]):
        r = run(tool, *words)
        check(f"{tool} {' '.join(words)}", r.returncode == 2 and r.stderr.startswith(f"{tool}: ") and r.stderr.count("\n") == 1,
              f"{r.returncode} {r.stderr}")
    with open("/dev/full", "w") as full:
        r = subprocess.run([f"{BIN}/{tool}", "--help"], stdout=full, stderr=subprocess.PIPE, text=True)
        check(f"{tool} --help into a full disk fails", r.returncode == 1, r.returncode)


if __name__ == "__main__":
    for tool in TOOLS:
        page = manual(tool)
        check(f"{tool}.1 is there", "EXIT STATUS" in page and "EXAMPLES" in page, page[:80])
        test_help(tool, page)
        test_lists(tool, page)
        test_misuse(tool)
    lines.done()
