"""check_stage_loss.py - what wire.5 asks of a loss, as check-stage's scenes"""
import signal
import time

import numpy as np

from check_stage_play import BATCH, DIM, PER_EPOCH, Process, Server, Silence, check, check_open, expect
from check_stage_serving import check_saying, check_status, same

class Trained:
    """The loss under test behind us, from a step and a state on."""

    def __init__(self, first=0, state=None, nudge=None):
        shape = ("f32", BATCH, DIM)
        self.server = Server({f"{kind}{i}": shape for kind in "qkt" for i in (0, 1)}
                             | {"label": ("i32", BATCH), "index": ("i64", BATCH)}, first_step=first)
        self.server.state, self.nudge, self.names, self.sent = state or {}, nudge, [], {}
        self.process = Process(self.server.ticket)
        expect("its first message is open, with version 1, role and command", "open and schema")
        self.open = self.server.receive()
        check_open(self.open)
        self.server.schema()

    def step(self, step, save=False):
        expect("it wants one step after the other", "the trained step")
        want = self.server.receive()
        if want.kind != "want" or want.scalars.get("step") != step:
            raise Silence(f"'{want.kind}' {want.scalars} came in place of the want of step {step}")
        if self.server.socket.poll(100):
            raise Silence("another message came before the want was answered")
        self.names = self.names or want.names
        self.sent = {n: self.server.array(n, step) for n in want.names if n in self.server.offers}
        if self.nudge:
            self.sent[self.nudge[0]] = self.sent[self.nudge[0]] + self.nudge[1]
        self.server.send("batch", {"step": step, "part": 0, "parts": 1, "epoch": step // PER_EPOCH, "lr": 0.1, "save": save},
                         self.sent)
        expect("a batch is answered by a grad of its step and incarnation", "the trained step")
        return want, self.server.receive()

    def last(self, kind, **scalars):
        """Answers the next want by the last word."""
        self.server.receive()
        self.server.send(kind, scalars)

    def status(self):
        return self.process.status()


def check_grad(run, want, grad, step):
    s, queries = grad.scalars, sorted(n for n in run.names if n.startswith("q"))
    due = {f"d:{n}" for n in queries}
    check("a batch is answered by a grad of its step and incarnation",
          (grad.kind, s.get("step"), s.get("incarnation")) == ("grad", step, 77),
          f"{grad.kind} {s}", "the trained step")
    check("d:NAME for every q tensor, and none else beside the state",
          {n for n in grad.tensors if not n.startswith("loss.")} == due,
          f"{sorted(grad.tensors)}, due are {sorted(due)}", "the trained step")
    odd = [f"{n}: {a.dtype}{list(a.shape)}" for n, a in grad.tensors.items() if n in due
           and (a.dtype != np.float32 or a.shape != (BATCH, DIM))]
    check("gradients are f32 of the shape of q", not odd, odd, "the trained step")
    check("and finite", all(np.isfinite(a).all() for n, a in grad.tensors.items() if n in due), "NaN or infinity",
          "the trained step")
    check("loss is a finite number", isinstance(s.get("loss"), (int, float)) and np.isfinite(s["loss"]), s.get("loss"),
          "the trained step")


def check_slope(kept):
    """A difference of losses along the gradient."""
    gradient, name = kept.get("slope"), kept.get("query")
    if gradient is None:
        return
    size = np.abs(gradient).max()
    if not size:
        check("the gradient is the loss's slope", False, f"d:{name} is zero everywhere: is the graph cut off?")
        return
    values = []
    for sign in (1, -1):
        run = Trained(nudge=(name, (sign * 0.01 * gradient / size).astype(np.float32)))
        values.append(run.step(0)[1].scalars.get("loss", 0.0))
    found, due = values[0] - values[1], float(0.02 * np.square(gradient, dtype="f8").sum() / size)
    check("the gradient is the loss's slope", abs(found - due) < 0.05 * abs(due) + 1e-5,
          f"along d:{name} the loss changes by {found:.3g}, not {due:.3g}")


def check_training(kept):
    """A run of four steps, the second one saved. kept gets the step's gradients, what it asks for, the state and what
    followed."""
    run = Trained()
    named = run.open.scalars.get("fact.loss")
    check("its open names fact.loss", isinstance(named, str) and named, "without it a run would be resumed with any other loss",
          "RUN FACTS")
    want, grad = run.step(0)
    check("the first want is the first step's, whole", [want.scalars.get(n) for n in ("step", "part", "parts")] == [0, 0, 1],
          want.scalars, "the trained step")
    unknown = [n for n in want.names if n not in run.server.offers]
    if not check("it asks for what is offered", not unknown and any(n.startswith("q") for n in want.names),
                 f"asks for {want.names}", "NAMES"):
        return
    check_grad(run, want, grad, 0)
    kept["query"] = next(n for n in sorted(want.names) if n.startswith("q"))
    kept["slope"] = grad.tensors.get(f"d:{kept['query']}")
    saved = run.step(1, True)[1]
    kept["state"] = {n: a for n, a in saved.tensors.items() if n.startswith("loss.")}
    steps = [run.step(s) for s in (2, 3)]
    kept["after"] = [grad for _, grad in steps]
    check("every want names the same", all({*want.names} == {*run.names} for want, _ in steps), f"{steps[0][0].names}",
          "the trained step")
    loose = [n for grad in kept["after"] for n in grad.tensors if n.startswith("loss.")]
    check("state comes in what is saved alone", not loose, loose, "the trained step")
    expect("end ends it, with 0", "end, fault, close")
    run.last("end", code=0)
    check_status("end ends it, with 0", run, 0, "end, fault, close")


def check_resumed(kept):
    if "after" not in kept:
        return
    run = Trained(2, kept["state"])
    again = [run.step(s)[1] for s in (2, 3)]
    check("resumed from its state it gives the same bytes", all(same(a, b) for a, b in zip(again, kept["after"])),
          f"it does not: the state {sorted(kept['state'])} is not whole, or its draws do not follow from the step",
          "the trained step")


def check_stopped_loss(kept):
    run, rule = Trained(), "after SIGINT it goes on, and sets stop in its grad"
    run.step(0)
    run.process.process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    try:
        grad = run.step(1)[1]
    except Silence as e:
        expect(rule, "signals")
        raise e
    check(rule, grad.kind == "grad" and grad.scalars.get("stop") == 2, f"{grad.kind} {grad.scalars}", "signals")
    expect("and ends with the code of the fault that answers", "signals")
    run.last("fault", code=130, sentence="interrupted", said=True)
    check_status("and ends with the code of the fault that answers", run, 130, "signals")


def check_fault_of_encode(kept, said=True):
    run, rule = Trained(), "a fault of encode ends it, with its code"
    expect(rule, "end, fault, close")
    run.last("fault", code=9, sentence="a fault of check-stage", said=said)
    check_status(rule, run, 9, "end, fault, close")
    check_saying(run.process, said)


def check_lost_encode(kept):
    run = Trained()
    run.step(0)
    expect("encode is killed: it ends, with 3", "neighbours that vanish")
    run.server.receive()
    run.server.close()
    run.process.process.stdin.close()
    if check_status("encode is killed: it ends, with 3", run, 3, "neighbours that vanish"):
        said = run.process.said()
        check("and says so", said and "Traceback" not in said, said[-100:] or "nothing", "neighbours that vanish")
