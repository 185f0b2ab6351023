#!/usr/bin/env python3
"""features.py NAME [WEIGHTS] - evaluates any network of torchvision: what comes before its last layer

    augment --eval D | python/examples/features.py resnet50 resnet50.pth | probe knn linear

For a network of your own replace make_net() in nets.py.
"""
import sys
sys.path[:0] = [__file__.rsplit("/", 1)[0], __file__.rsplit("/", 2)[0]]

import torch

from nets import make_net, normalised
from sprat import Fault, Stage

with Stage("features", serves=True) as stage:
    if len(sys.argv) not in (2, 3):
        raise Fault(2, "give the name of a network of torchvision, as in: features.py resnet18 [weights.pth]")
    net, schema = make_net(*sys.argv[1:]), stage.connect()
    size, grad = schema["fact.size"], torch.set_grad_enabled(False)
    width = net(torch.zeros(1, 3, size, size)).shape[1]
    stage.serve(lambda batch: {"feature0": net(normalised(batch["view0"], schema))},
                {"feature0": ("f32", schema["fact.batch"], width)},
                needs=["view0"])
