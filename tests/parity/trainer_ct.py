"""trainer_ct - lib/nn's trainer from Python: what encode makes of the wants of a loss, by the same calls

    t = Trainer("resnet18", True, "linear", 32, (35, 35), batch=18, parts=4, optim="sgd:lr=0.1", ema=0.9)
    t.load(weights)
    keys = t.step(0, [(0, 1)], [view0, view1], lambda q, k: [gradient of q])

sizes of more than one pair are those of the views.

Parts and groups of cells are cut here as lib/nn/train/parts.h words it.
"""
import ctypes
import threading
from concurrent.futures import ThreadPoolExecutor
from ctypes import CFUNCTYPE, c_char_p, c_double, c_int, c_int64

import numpy as np

from net_ct import HEAD, MEAN, STD, Net, P, declare, floats, lib, ptr
from sprat_ct import why

declare("shim_trainer", P, c_char_p, c_int, c_char_p, c_char_p, c_int, P, c_int, P, P, c_char_p, c_int, c_double,
        c_double, c_char_p, c_char_p, c_char_p, c_int, c_double, c_int, c_int, c_int, c_int, c_char_p)
declare("shim_trainer_free", None, P)
declare("shim_trainer_ranks", None, P, c_int, c_int, c_int, P)
declare("shim_trainer_net", P, P)
declare("shim_trainer_vector", P, P, c_int, P)
declare("trainer_begin", None, P, c_int64)
declare("trainer_query", None, P, c_int, c_int, P, c_int)
declare("trainer_output", P, P, c_int, c_int, c_int)
declare("trainer_move_key", None, P)
declare("trainer_key", P, P, c_int, c_int, P, c_int)
declare("trainer_query_again", None, P, c_int, c_int, P, c_int)
declare("trainer_backward", None, P, c_int, c_int, P)
declare("trainer_update", c_int, P, c_int64)

CELLS = 8   # at most, of a part


def query_parts(batch, parts):
    """Rows of each part."""
    return [list(range(i * batch // parts, (i + 1) * batch // parts)) for i in range(parts)]


def key_groups(batch, parts):
    """Rows of each key group: cell 0 of part g, cell 1 of part g - 1, ..."""
    count = min(parts, CELLS, batch // parts)
    cells = query_parts(batch, parts * count)
    return [sum((cells[(g - c) % parts * count + c] for c in range(count)), []) for g in range(parts)]


class Ranks:
    """Trainers in threads: what is summed is summed over all of them, in their order. deaf: arrays of this length are not."""

    def __init__(self, count, deaf=None):
        self.count, self.deaf, self.given, self.met = count, deaf, [None] * count, threading.Barrier(count, timeout=60)

    def gather(self, index, mine):
        """What each rank gives, for all of them."""
        self.given[index] = mine
        self.met.wait()
        all_ = list(self.given)
        self.met.wait()
        return all_

    def door(self, index):
        def add(_, address, count):
            values = floats(address, (count,)) if count else np.zeros(0, np.float32)
            total = sum(self.gather(index, values.copy()))
            if count != self.deaf:
                values[:] = total
        return CFUNCTYPE(None, P, P, c_int64)(add)

    def run(self, work):
        """[what work(index) gives], each in a thread."""
        with ThreadPoolExecutor(self.count) as pool:
            return list(pool.map(work, range(self.count)))


class Trained(Net):
    """The network of a trainer, which owns it."""

    def __init__(self, handle, size):
        self.size = size
        self.adopt(handle)

    def __del__(self):
        self.release_plans()


class Trainer:
    """output: of the query, which a step's gradients are of: HEAD or PREDICTOR."""

    def __init__(self, arch, small, head, dim, sizes, batch, parts, optim, schedule="constant", ema=0.9, bn_momentum=0.5,
                 stream=False, steps=5, backend="blas", precision="f32", predictor="none", ema_buffers=False, output=HEAD,
                 dropout=0.0, drop_path=0.0, freeze="none", rates="1"):
        sizes = np.array([sizes] if isinstance(sizes[0], int) else sizes, np.int32)
        self.batch, self.parts, self.output = batch, parts, output
        self.texts = [t.encode() for t in (arch, head, predictor, backend, optim, schedule, str(ema))]
        arch, head, predictor, backend, optim, schedule, ema = self.texts
        self.handle = lib.shim_trainer(arch, small, head, predictor, dim, ptr(sizes), len(sizes), ptr(MEAN), ptr(STD), backend,
                                       precision == "bf16", dropout, drop_path, optim, schedule, ema, ema_buffers, bn_momentum,
                                       batch, parts, stream, steps, freeze.encode(), rates.encode())
        if not self.handle:
            raise RuntimeError(why())
        self.net = Trained(lib.shim_trainer_net(self.handle), tuple(int(n) for n in sizes[0]))
        self.dim = self.net.dim

    def __del__(self):
        if getattr(self, "handle", None):
            lib.shim_trainer_free(self.handle)

    def vector(self, which):
        """A view of what the trainer holds: params, buffers, grads, key params, key buffers, slots; None where there is none."""
        count = c_int64()
        address = lib.shim_trainer_vector(self.handle, which, ctypes.byref(count))
        return address and floats(address, (count.value,))

    params, buffers, key_params, key_buffers = (property(lambda self, i=i: self.vector(i)) for i in (0, 1, 3, 4))

    def load(self, named):
        self.params[:], self.buffers[:] = self.net.load(named)

    def join(self, ranks, index, first, batch):
        """Makes it one of the ranks, to be run in a thread of its own; of the whole batch its rows start at first."""
        self.sum = ranks.door(index)
        lib.shim_trainer_ranks(self.handle, ranks.count, first, batch, self.sum)

    def step(self, number, sides, views, gradients, groups=None):
        """One step. sides: (view of the query, view of its key) each; views: (batch, h, w, 3) each; gradients: from [q], [k] to
        [d_q], in the order of sides; groups: rows of each key group where they are others. The q and k."""
        lib.trainer_begin(self.handle, number)
        parts, groups = query_parts(self.batch, self.parts), groups or key_groups(self.batch, self.parts)
        held = {v: [np.ascontiguousarray(views[v][rows]) for rows in parts] for v, _ in sides}
        q = [np.zeros((self.batch, self.net.widths[self.output]), np.float32) for _ in sides]
        k = [np.zeros((self.batch, self.dim), np.float32) for _ in sides]
        for i, (v, _) in enumerate(sides):
            for part, rows in enumerate(parts):
                lib.trainer_query(self.handle, v, part, ptr(held[v][part]), len(rows))
                q[i][rows] = floats(lib.trainer_output(self.handle, v, part, self.output), (len(rows), q[i].shape[1]))
        lib.trainer_move_key(self.handle)
        for i, (_, v) in enumerate(sides):
            for group, rows in enumerate(groups):
                given = np.ascontiguousarray(views[v][rows])
                k[i][rows] = floats(lib.trainer_key(self.handle, v, group, ptr(given), len(rows)), (len(rows), self.dim))
        for (v, _), d in zip(sides, gradients(q, k)):
            for part, rows in enumerate(parts):
                lib.trainer_query_again(self.handle, v, part, ptr(held[v][part]), len(rows))
                given = np.ascontiguousarray(d[rows])
                lib.trainer_backward(self.handle, v, part, (P * 3)(*(ptr(given) if i == self.output else None for i in range(3))))
        if lib.trainer_update(self.handle, number) < 0:
            raise RuntimeError(why())
        return q, k
