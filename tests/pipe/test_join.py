"""A loss behind servers that each give one part of every step sees what one server would give, and gives each its rows of the
gradient; what is wrong with a part is said in one sentence that names it."""
import signal
import time

import lines
import numpy as np
from lines import Line, check, folder, handles, until
from peer import Record
from ranks import SAVES, Ranks, follow, printed, rows, run, same

def compare(name, one, parts, batch):
    """A line in parts against the same from one server."""
    (whole, alone), (line, ranks) = one, parts
    n, steps = ranks.n, len(alone.grads[0])
    check(f"{name}: it ends well", line.codes == [0] and not line.words, f"{line.codes} {line.stderr}")
    check(f"{name}: the same lines", printed(line) == printed(whole) and len(printed(line)) == steps + 1, line.stdout)
    asked = [{want[1:] for want in wants} for wants in ranks.wants]
    check(f"{name}: each is asked for its part", asked == [{(i, n)} for i in range(n)], asked)
    check(f"{name}: a gradient a step", [len(g) for g in ranks.grads] == [steps] * n, [len(g) for g in ranks.grads])
    good = all(g.tensors["d:q0"].shape[0] == len(range(batch)[rows(batch, i, n)]) for i in range(n) for g in ranks.grads[i])
    check(f"{name}: of its rows", good, [[g.tensors["d:q0"].shape for g in x] for x in ranks.grads])
    joined = [np.concatenate([ranks.grads[i][s].tensors["d:q0"] for i in range(n)]) for s in range(min(map(len, ranks.grads)))]
    check(f"{name}: together they are the whole one, byte for byte",
          len(joined) == steps and all(same(a, b.tensors["d:q0"]) for a, b in zip(joined, alone.grads[0])))
    values = lambda g: {k: v for k, v in g.scalars.items() if k != "incarnation"}
    check(f"{name}: with the same scalars", all(values(g) == values(h) for x in ranks.grads for g, h in zip(x, alone.grads[0])))
    own = [{g.scalars["incarnation"] for g in grads} for grads in ranks.grads]
    check(f"{name}: and its own incarnation", own == [{100 + i} for i in range(n)], own)
    state = lambda g: {k: v for k, v in g.tensors.items() if k.startswith("loss.")}
    first = [(state(g), state(h)) for g, h in zip(ranks.grads[0], alone.grads[0])]
    check(f"{name}: part 0 gets the state", all(a.keys() == b.keys() and all(same(a[k], b[k]) for k in a) for a, b in first)
          and any(a for a, b in first), [sorted(a) for a, b in first])
    check(f"{name}: the others do not", not any(state(g) for x in ranks.grads[1:] for g in x))


def test_gradients(d):
    for batch in (16, 7):
        one = run(d, 1, batch)
        saved = {k: v for k, v in one[1].grads[0][SAVES[0]].tensors.items() if k.startswith("loss.")}
        later = run(d, 1, batch, first=SAVES[0] + 1, state=saved)
        for n in (2, 3):
            compare(f"{batch} rows in {n} parts", one, run(d, n, batch), batch)
            compare(f"{batch} rows in {n} parts, resumed", later, run(d, n, batch, first=SAVES[0] + 1, state=saved), batch)
        check(f"{batch} rows: a resumed run gives what the whole one does",
              printed(later[0])[1:] == printed(one[0])[SAVES[0] + 2:], later[0].stdout)


# --- faults ---


def changed(rank, kind, when=lambda r: True, **scalars):
    """An answer of one rank with other scalars."""
    def wrong(i, r):
        if i == rank and r.kind == kind and when(r):
            r.scalars.update(scalars)
        return r
    return wrong


def fewer(i, r):
    if i == 1 and r.kind == "batch":
        r.tensors = {k: v[1:] for k, v in r.tensors.items()}
    return r


def narrower(i, r):
    if i == 1 and r.kind == "batch":
        r.tensors["k1"] = r.tensors["k1"][:, 1:]
    return r


def ending(i, r, step=2):
    """Part 1 ends before the others do."""
    return Record("end", {"code": 0}) if i == 1 and r.kind == "batch" and r.scalars["step"] == step else r


def test_wrong_parts(d):
    third = lambda r: r.scalars["step"] == 2
    cases = {"rows that are missing": (fewer, 1, ("part 1/2", "sent 7 rows", "step 1", "the 8 that are due")),
             "a narrower tensor": (narrower, 1, ("'k1'", "f32[8,7]")),
             "a save that part 0 does not want": (changed(1, "batch", lambda r: r.scalars["step"] == 1, save=True), 1,
                                                  ("disagree in step 2", "'save' is no of part 0/2, but yes of part 1/2")),
             "another epoch": (changed(1, "batch", third, epoch=4), 1,
                               ("disagree in step 3", "'epoch' is 3 of part 0/2, but 4 of part 1/2")),
             "another step": (changed(1, "batch", third, step=3), 1, ("answered step 4", "step 3 was its next want")),
             "another part": (changed(1, "batch", third, part=0), 1, ("another part of step 3 than 1 of 2",)),
             "another first step": (changed(1, "schema", first_step=1), 1, ("first_step differs",)),
             "another seed": (changed(1, "schema", **{"fact.seed": 1}), 1, ("seed differs",)),
             "no training": (changed(1, "schema", trained=False), 1, ("trained differs",)),
             "an early end": (ending, 1, ("of part 1/2 ended before step 3", "part 0/2 gave"))}
    for name, (wrong, code, parts) in cases.items():
        line, ranks = run(d, 2, 16, wrong=wrong)
        check(f"part 1 gives {name}", line.code == code and len(line.words) == 1 and all(p in line.stderr for p in parts),
              f"{line.code} {line.stderr}")
        told = [r.kind for i, r in enumerate(ranks.heard) if not (name == "an early end" and i == 1)]
        check(f"part 1 gives {name}: the parts are told", set(told) == {"fault"}, told)
    line, _ = run(d, 5, 4)
    check("a batch of fewer rows than parts", line.code == 1 and len(line.words) == 1 and "steps of 4 rows" in line.stderr,
          f"{line.code} {line.stderr}")
    line, _ = run(d, 2, 16, wrong=changed(1, "end", code=130))
    check("an end with a code of one part is the line's", line.code == 130 and not line.words, f"{line.code} {line.stderr}")


def test_dead_part(d):
    """A trained part that is gone is not waited for on a unix socket, even while others hold the pipe."""
    for rank in (0, 1):
        ranks = Ranks(2, 16)

        def wrong(i, r, dead=rank):
            if i == dead and r.kind == "batch" and r.scalars["step"] == 2:
                return ranks.die(i)
            return r
        ranks.wrong = wrong
        line = Line(["sh", "-c", 'printf "%s\\n" "$@"; exec sleep 90', "-", *ranks.tickets],
                    ["loss", "-q", "-j1", "--patience", "60", "moco:k=32"], cwd=d)
        ranks.serve(lambda: line[-1].poll() is None)
        seconds = time.monotonic() - line.started
        until(lambda: line[-1].poll() is not None, 10)
        heard = ranks.last_words(1 - rank)
        line.abandon()
        check(f"part {rank} dies: the line ends and names it", line[-1].returncode == 3 and len(line.words) == 1
              and f"(part {rank}/2)" in line.stderr and "vanished" in line.stderr, f"{line[-1].returncode} {line.stderr}")
        check(f"part {rank} dies: long before the patience is over", seconds < 50, seconds)
        check(f"part {rank} dies: the other one is told", heard and heard.kind == "fault" and heard.scalars["code"] == 3, heard)
        ranks.servers[1 - rank].close()


def ended(name, line, code, *parts, most=30):
    line.wait(most)
    check(name, line.code == code and len(line.words) == 1 and all(p in line.stderr for p in parts),
          f"status {line.code} after {line.seconds:.1f} s, said {line.stderr!r}")


def test_tickets(d):
    loss = ["loss", "-q", "-j1", "--patience", "2", "moco:k=32"]
    nowhere = "sprat1 encode tcp://127.0.0.1:1"
    given = lambda *tickets: Line(loss + [x for t in tickets for x in ("--from", t)], cwd=d)
    piped = lambda *tickets: Line(["printf", "%s\\n", *tickets], loss, cwd=d)
    for way, start in (("on stdin", piped), ("by --from", given)):
        ended(f"two servers of one part, {way}", start(f"{nowhere} part=0/2", f"{nowhere} part=0/2"), 2, "part=0/2",
              "each part has one server")
        ended(f"parts of different numbers, {way}", start(f"{nowhere} part=0/2", f"{nowhere} part=1/3"), 2, "part=0/2",
              "part=1/3")
        ended(f"a part beside a whole one, {way}", start(f"{nowhere} part=1/2", nowhere), 2, "part=1/2", "has none")
        ended(f"a whole one beside a part, {way}", start(nowhere, f"{nowhere} part=1/2"), 2, "part=1/2", "has none")
        ended(f"64 parts, {way}", start(f"{nowhere} part=3/64"), 2, "at most 63")
        ended(f"a part without a ticket, {way}", start(f"{nowhere} part=0/3", f"{nowhere} part=2/3"), 3, "part")
    alone = Ranks(2, 16)
    served = lambda line: (alone.serve(lambda: line[-1].poll() is None), line)[1]
    ended("part 1 leads nowhere", served(given(alone.tickets[0], f"{nowhere} part=1/2")), 3, "(part 1/2)", "nobody answers")
    ended("part 1 has no ticket, and none can come", served(piped(alone.tickets[0])), 3, "part=1/2")
    held = Line(["sh", "-c", f"echo '{alone.tickets[0]}'; exec sleep 20"], loss, cwd=d)
    served(held)
    until(lambda: held[-1].poll() is not None, 20)
    held.abandon()
    check("part 1 has no ticket, and the pipe stays open", held[-1].returncode == 3 and len(held.words) == 1
          and "part=1/2" in held.stderr, f"{held[-1].returncode} {held.stderr}")
    held = Line(["sh", "-c", f"echo '{alone.tickets[0]}'; exec sleep 20"], loss[:-2] + ["600", loss[-1]], cwd=d)
    until(lambda: handles(held[-1].pid, signal.SIGTERM))
    time.sleep(0.5)
    held.kill(-1, sig=signal.SIGTERM)
    served(held)
    check("a signal ends who waits for a part", until(lambda: held[-1].poll() is not None, 10) and held[-1].returncode == 143,
          f"{held[-1].returncode} {held.stderr}")
    held.abandon()
    alone.close()
    whole = Ranks(1, 16)
    whole.tickets[0] += " part=0/1"
    check("part 0 of 1 is the whole", follow(d, whole)[0].codes == [0] and len(whole.grads[0]) == 6, whole.heard)


if __name__ == "__main__":
    with folder() as d:
        test_gradients(d)
        test_wrong_parts(d)
        test_dead_part(d)
        test_tickets(d)
    lines.done()
