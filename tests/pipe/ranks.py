"""ranks.py - a trained encode in n parts, written from lib/stream/wire.5 alone, and what stands behind it

    ranks = Ranks(2, 16)                              line, ranks = run(folder, 3, 7)
    line = Line(["loss", ...ranks.tickets])           ranks.grads[rank][step].tensors["d:q0"]
    ranks.serve()
"""
import time

import numpy as np
import zmq
from lines import Line, json_lines
from peer import Record, Server, unpack

DIM = 8
SAVES = (2, 5)


def rows(batch, part, parts):
    return slice(part * batch // parts, (part + 1) * batch // parts)


class Ranks:
    """A trained encode in n parts, without a network: noise as embeddings. wrong(rank, answer) may change an answer, or drop
    it by giving None. After serve(): grads[rank], and what else each heard last."""

    def __init__(self, n, batch, first=0, last=6, state=(), wrong=lambda rank, answer: answer):
        rng = np.random.default_rng(11)
        self.noise = [{x: rng.normal(0, 1, (batch, DIM)).astype(np.float32) for x in ("q0", "k1")} for _ in range(last)]
        self.n, self.batch, self.first, self.last, self.state, self.wrong = n, batch, first, last, dict(state), wrong
        self.servers = [Server("encode") for _ in range(n)]
        self.tickets = [s.ticket + (f" part={i}/{n}" if n > 1 else "") for i, s in enumerate(self.servers)]
        self.poller = zmq.Poller()
        self.grads, self.wants, self.heard = [[] for _ in range(n)], [[] for _ in range(n)], [None] * n

    def schema(self, i):
        facts = {"seed": 2**40 + 9, "steps": self.last, "batch": self.batch}
        return Record("schema", {"version": 1, "incarnation": 100 + i, "stage": "encode", "trained": True,
                                 "first_step": self.first, **{f"fact.{k}": v for k, v in facts.items()}},
                      self.state if i == 0 else {}, {x: ("f32", (self.batch, DIM)) for x in ("q0", "q1", "k0", "k1")})

    def answer(self, i, r):
        if r.kind == "open":
            return self.schema(i)
        step, part, parts = (r.scalars[k] for k in ("step", "part", "parts"))
        self.wants[i].append((step, part, parts))
        if step == self.last:
            return Record("end", {"code": 0})
        return Record("batch", {"step": step, "part": part, "parts": parts, "epoch": 3, "lr": 0.1, "save": step in SAVES},
                      {x: self.noise[step][x][rows(self.batch, part, parts)] for x in r.names})

    def serve(self, alive=lambda: True):
        """Until each has said or heard a last word, or the client is no more. Part 0's schema and end come after the others'."""
        open_ = set(range(self.n))
        for s in self.servers:
            self.poller.register(s.socket, zmq.POLLIN)
        end, late = time.monotonic() + 60, []
        while open_ and time.monotonic() < end:
            ready = dict(self.poller.poll(100))
            if not ready and not alive():
                break
            for answer in [x for x in late if time.monotonic() > x[0]]:
                late.remove(answer)
                self.send(*answer[1:], open_)
            for i in (i for i, s in enumerate(self.servers) if s.socket in ready):
                who, *frames = self.servers[i].socket.recv_multipart()
                self.heard[i] = r = unpack(frames)
                if r.kind == "grad":
                    self.grads[i].append(r)
                elif r.kind in ("open", "want"):
                    answer = self.wrong(i, self.answer(i, r))
                    if answer and i == 0 and answer.kind != "batch":
                        late.append((time.monotonic() + 0.3, i, who, answer))
                    elif answer:
                        self.send(i, who, answer, open_)
                else:
                    open_.discard(i)
        return self

    def send(self, i, who, answer, open_):
        self.servers[i].send(who, answer)
        if answer.kind == "end":
            open_.discard(i)

    def die(self, i):
        self.poller.unregister(self.servers[i].socket)
        self.servers[i].socket.close(linger=0)

    def last_words(self, i):
        """What part i is told in the end, by a client that ended before serve() heard it."""
        socket = self.servers[i].socket
        while (not self.heard[i] or self.heard[i].kind not in ("fault", "close")) and socket.poll(5000):
            self.heard[i] = unpack(socket.recv_multipart()[1:])
        return self.heard[i]

    def close(self):
        for s in self.servers:
            s.close()


def run(d, n, batch, **more):
    """A loss behind so many parts: (the line, the ranks)."""
    return follow(d, Ranks(n, batch, **more))


def follow(d, ranks):
    options = [x for t in ranks.tickets for x in ("--from", t)]
    line = Line(["loss", "-q", "-j1", "--patience", "3", f"moco:k={4 * ranks.batch},t=0.2"] + options, cwd=d)
    ranks.serve(lambda: line[-1].poll() is None)
    line.wait(20)
    ranks.close()
    return line, ranks


def printed(line):
    return [{k: v for k, v in row.items() if k != "images_s"} for row in json_lines(line.stdout)]


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
