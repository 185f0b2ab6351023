"""pair - measures contenders in turns within one run and prints what came out, a JSON object a line

    pair.py --what encode --case "resnet18 224 batch 32" --keys ms,mb --batch 32 \\
        2 'feeder ... | encode ... | loss ...'  2 'torch_step.py ...'  2 'torch_step.py ... channels_last'

A contender is a shell line that prints JSON lines for as long as it lives, one a measurement: images_s, gb_s, ms or mb. The
first is ours; of the others the fastest counts. The number before each is how many lines are warm-up (a filling cache, the first
touch of memory). Only one runs at any time: the others are stopped (SIGSTOP to their process group), so that whatever else the
machine does in these minutes falls on all alike. A turn is one line to get going again, not counted, and --lines counted ones;
after --turns turns each the medians are compared. A rival whose warm-up is 1.3 times slower than the best rival's is sent
home, and so, with a word on stderr, is one that cannot start. Medians and ranges of all go to stderr.

--batch gives ms, the time of a step, from images_s; --peak PROGRAM,... gives mb, the peak resident set of these programs of
the line; --one-core keeps every contender on one core. --floors gives the ratios, in the order of --keys, that sprat has to
reach; they stand in the lines as "floor".
"""
import argparse
import json
import os
import re
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time

# key: (unit, whether less is better)
KEYS = {"images_s": ("images/s", False), "gb_s": ("GB/s", False), "ms": ("ms", True), "mb": ("MB", True)}
HOPELESS = 1.3


class Lost(Exception):
    """A contender ended, or said nothing for too long."""


class Contender:
    def __init__(self, warm, command):
        self.warm, self.command, self.rows, self.text = int(warm), command, [], b""
        self.process, self.err = None, tempfile.TemporaryFile()

    def start(self, cores):
        self.process = subprocess.Popen(["sh", "-c", self.command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=self.err, start_new_session=True,
                                        preexec_fn=lambda: os.sched_setaffinity(0, cores))
        self.out = self.process.stdout.fileno()
        os.set_blocking(self.out, False)

    def signal(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def complaint(self, why):
        words = os.pread(self.err.fileno(), 2000, max(0, os.fstat(self.err.fileno()).st_size - 2000)).decode(errors="replace")
        return Lost(f"'{self.command}' {why}: {' | '.join(words.split(chr(10)))}")

    def read(self, seconds):
        """More of its text; waits for it at most that long."""
        if not select.select([self.out], [], [], seconds)[0]:
            raise self.complaint(f"said nothing for {seconds:.0f} seconds")
        more = os.read(self.out, 65536)
        if not more:
            raise self.complaint("ended")
        self.text += more

    def take(self, count, patience):
        """The next measurements, which are printed while it runs."""
        rows, end = [], time.monotonic() + patience
        while len(rows) < count:
            line, newline, rest = self.text.partition(b"\n")
            if not newline:
                self.read(max(0, end - time.monotonic()))
                continue
            self.text, row = rest, json.loads(line)
            if any(key in row for key in KEYS):
                rows.append(row)
                end = time.monotonic() + patience
        return rows

    def forget(self):
        """Drops what was printed between the last line taken and the stop."""
        while select.select([self.out], [], [], 0)[0] and os.read(self.out, 65536):
            pass
        self.text = b""

    def turn(self, skip, count, patience):
        self.forget()
        self.signal(signal.SIGCONT)
        try:
            return self.take(skip + count, patience)[skip:]
        finally:
            self.signal(signal.SIGSTOP)

    def end(self):
        if not self.process:
            return
        self.signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()
        self.process = None


def peak_mb(session, programs):
    """Sum of the peak resident sets of a session's processes that were started under one of these names."""
    total = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            name = open(f"/proc/{pid}/cmdline").read().split("\0")[0]
            if os.getsid(int(pid)) == session and os.path.basename(name) in programs:
                total += next(int(line.split()[1]) for line in open(f"/proc/{pid}/status") if line.startswith("VmHWM"))
        except OSError:  # it has just ended
            continue
    return total / 1000


def values(c, key, batch):
    if key == "ms" and batch:
        return [1000 * batch / row["images_s"] for row in c.rows]
    return [row[key] for row in c.rows]


def median(c, key, batch):
    return statistics.median(values(c, key, batch))


def dismiss_hopeless(rivals, key, batch, hopeless=HOPELESS):
    """The rivals that are worth their turns."""
    sign = 1 if KEYS[key][1] else -1
    best = min(sign * median(c, key, batch) for c in rivals)
    keep = [c for c in rivals if sign * median(c, key, batch) <= best * hopeless ** sign]
    for c in rivals:
        if c not in keep:
            print(f"# sent home: {title(c.command)}: {median(c, key, batch):.4g} {KEYS[key][0]}", file=sys.stderr)
            c.end()
    return keep


def warm_up(o, c):
    cores = os.sched_getaffinity(0)
    c.start({max(cores)} if o.one_core else cores)
    c.rows = c.turn(0, c.warm + 1, o.patience)[c.warm:]


def able(o, contenders):
    """Those that start and get through their warm-up."""
    found = []
    for c in contenders:
        try:
            warm_up(o, c)
            found.append(c)
        except Lost as e:
            c.end()
            print(f"# skipped: {e}", file=sys.stderr)
    return found


def take_turns(o, contenders):
    for c in contenders:
        c.rows = []
    for _ in range(o.turns):
        for c in contenders:
            c.rows += c.turn(1, o.lines, o.patience)
    for c in contenders:
        if o.peak:
            for row in c.rows:
                row["mb"] = peak_mb(c.process.pid, o.peak)


def measure(o, ours, rivals):
    warm_up(o, ours)
    rivals = able(o, rivals)
    if not rivals:
        raise Lost("nobody to compare with")
    kept = dismiss_hopeless(rivals, o.keys[0], o.batch)
    take_turns(o, [ours] + kept)
    return kept


def title(command):
    """A command without the settings that keep freed memory, which all of theirs have."""
    return re.sub(r"MALLOC_\S+ ", "", command).strip()


def report(o, ours, rivals):
    for key, floor in zip(o.keys, o.floors + [None] * len(o.keys)):
        unit, less = KEYS[key]
        for c in [ours] + rivals:
            v = sorted(values(c, key, o.batch))
            print(f"# {median(c, key, o.batch):.4g} ({v[0]:.4g} to {v[-1]:.4g}) {unit}: {title(c.command)}", file=sys.stderr)
        mine = median(ours, key, o.batch)
        theirs = (min if less else max)(median(c, key, o.batch) for c in rivals)
        row = {"what": o.what, "case": o.case, "ours": float(f"{mine:.4g}"), "theirs": float(f"{theirs:.4g}"), "unit": unit,
               "ratio": round(theirs / mine if less else mine / theirs, 3)}
        if floor:
            row["floor"] = floor
        print(json.dumps(row), flush=True)


def arguments():
    p = argparse.ArgumentParser()
    p.add_argument("--what", required=True)
    p.add_argument("--case", required=True)
    p.add_argument("--keys", type=lambda s: s.split(","), default=["images_s"])
    p.add_argument("--floors", type=lambda s: [float(x) for x in s.split(",")], default=[])
    p.add_argument("--batch", type=int, default=0)
    p.add_argument("--peak", type=lambda s: s.split(","), default=[])
    p.add_argument("--lines", type=int, default=3)
    p.add_argument("--turns", type=int, default=3)
    p.add_argument("--patience", type=float, default=180)
    p.add_argument("--one-core", action="store_true")
    p.add_argument("contenders", nargs="+", metavar="WARM COMMAND")
    return p.parse_args()


def main():
    o = arguments()
    ours, *rivals = [Contender(*pair) for pair in zip(o.contenders[::2], o.contenders[1::2])]
    try:
        report(o, ours, measure(o, ours, rivals))
    except Lost as e:
        sys.exit(f"# no result for {o.what}, {o.case}: {e}")
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        for c in [ours] + rivals:
            c.end()


if __name__ == "__main__":
    main()
