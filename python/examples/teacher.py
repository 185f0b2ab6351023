#!/usr/bin/env python3
"""teacher.py NAME [WEIGHTS] - a frozen teacher in PyTorch between augment and encode: its embeddings of both views as t0 and t1

    augment D | python/examples/teacher.py resnet50 resnet50.pth | encode -a mobilenet_v3_small -o run |
    a_loss_that_asks_for_q0_and_t0

The views pass through to encode, and t0 and t1 through encode to the loss.
"""
import sys
sys.path[:0] = [__file__.rsplit("/", 1)[0], __file__.rsplit("/", 2)[0]]

import torch

from nets import make_net, normalised
from sprat import Fault, Stage

with Stage("teacher", serves=True) as stage:
    if len(sys.argv) not in (2, 3):
        raise Fault(2, "give the name of a network of torchvision, as in: teacher.py resnet50 [weights.pth]")
    net, schema = make_net(*sys.argv[1:]), stage.connect()
    size, grad = schema["fact.size"], torch.set_grad_enabled(False)
    shape = ("f32", schema["fact.batch"], net(torch.zeros(1, 3, size, size)).shape[1])
    stage.serve(lambda batch: {t: net(normalised(batch["view" + t[1:]], schema)) for t in batch.names},
                {"t0": shape, "t1": shape},
                needs=["view0", "view1"])
