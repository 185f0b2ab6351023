"""nets.py - what features.py and teacher.py share: a network of torchvision without its last layer

For another network replace make_net(): it takes (B, 3, h, w) and gives (B, d).
"""
import torch
import torchvision

from sprat import Fault


def make_net(name, weights=None):
    if name not in dir(torchvision.models):
        raise Fault(2, f"torchvision has no network '{name}'")
    net = getattr(torchvision.models, name)()
    if weights:
        net.load_state_dict(torch.load(weights, map_location="cpu"))
    last = [n for n, m in net.named_modules() if isinstance(m, torch.nn.Linear)][-1]
    owner, _, attribute = last.rpartition(".")
    setattr(net.get_submodule(owner), attribute, torch.nn.Identity())
    return net.eval()


def normalised(views, schema):
    mean, std = (torch.tensor([float(x) for x in schema[f"fact.{n}"].split(",")]) for n in ("mean", "std"))
    return ((torch.tensor(views) / 255 - mean) / std).permute(0, 3, 1, 2)
