"""vit_torch - vision transformers in PyTorch under timm's names, written from the papers: what networks of tokens are compared
with

    model = Vit(KINDS["deit_tiny"], small=False)    the position embedding takes its length from the weights that are loaded
    feature = model(images)                         the class token after the last norm

For images of another size the embedding is resized, as by DeiT's fine-tuning code. Every block computes all its tokens, as timm
does. as_torchvision() gives the same function by torchvision's own VisionTransformer: the check of this file.
names() reads timm-deit_tiny.txt, timm's list of tensors for deit_tiny_patch16_224 without its classifier.
"""
import math
import os
from dataclasses import dataclass

import torch
import torchvision
from torch import nn

DEPTH, PATCH, PATCH_SMALL = 12, 16, 4


@dataclass(frozen=True)
class Kind:
    width: int
    heads: int
    mlp: int
    inner: int              # width of all heads
    qkv_bias: bool = True
    eps: float = 1e-6
    drops: bool = False     # where --dropout acts: behind the embedding, the projection and both layers of the MLP


KINDS = {"deit_tiny": Kind(192, 3, 768, 192), "deit_small": Kind(384, 6, 1536, 384), "vit_base": Kind(768, 12, 3072, 768),
         "vit_tiny_ssl": Kind(192, 6, 768, 384, False, 1e-5, True)}


def dropout(kind):
    return nn.Dropout(0.1) if kind.drops else nn.Identity()


class Attention(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.drop = kind, dropout(kind)
        self.qkv, self.proj = nn.Linear(kind.width, 3 * kind.inner, kind.qkv_bias), nn.Linear(kind.inner, kind.width)

    def forward(self, x):
        n, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, self.kind.heads, -1).permute(2, 0, 3, 1, 4)
        p = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
        return self.drop(self.proj((p @ v).transpose(1, 2).reshape(n, tokens, -1)))


class Mlp(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.fc1, self.act, self.drop1 = nn.Linear(kind.width, kind.mlp), nn.GELU(), dropout(kind)
        self.fc2, self.drop2 = nn.Linear(kind.mlp, kind.width), dropout(kind)

    def forward(self, x):
        return self.drop2(self.fc2(self.drop1(self.act(self.fc1(x)))))


class Block(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(kind.width, kind.eps), Attention(kind)
        self.norm2, self.mlp = nn.LayerNorm(kind.width, kind.eps), Mlp(kind)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Patches(nn.Module):
    def __init__(self, kind, patch):
        super().__init__()
        self.proj = nn.Conv2d(3, kind.width, patch, patch)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class Vit(nn.Module):
    interpolation = "bicubic"

    def __init__(self, kind, small):
        super().__init__()
        self.kind, width = kind, kind.width
        self.cls_token, self.pos_embed = nn.Parameter(torch.zeros(1, 1, width)), nn.Parameter(torch.zeros(1, 197, width))
        self.patch_embed = Patches(kind, PATCH_SMALL if small else PATCH)
        self.drop = dropout(kind)
        self.blocks = nn.Sequential(*[Block(kind) for _ in range(DEPTH)])
        self.norm = nn.LayerNorm(width, kind.eps)

    def positions(self, h, w):
        """For h x w patches; a square of them is resized where their number is another."""
        if self.pos_embed.shape[1] == 1 + h * w:
            return self.pos_embed
        side = math.isqrt(self.pos_embed.shape[1] - 1)
        grid = self.pos_embed[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
        grid = nn.functional.interpolate(grid, size=(h, w), mode=self.interpolation, align_corners=False)
        return torch.cat([self.pos_embed[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], 1)

    def forward(self, x):
        h, w = (n // self.patch_embed.proj.kernel_size[0] for n in x.shape[2:])
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), self.patch_embed(x)], 1) + self.positions(h, w)
        return self.norm(self.blocks(self.drop(x)))[:, 0]

    def _load_from_state_dict(self, state, prefix, *rest):
        self.pos_embed = nn.Parameter(torch.empty_like(state[prefix + "pos_embed"]))
        super()._load_from_state_dict(state, prefix, *rest)


# --- timm's names for torchvision's ---

_PARTS = {"norm1": "ln_1", "norm2": "ln_2", "attn.proj": "self_attention.out_proj", "mlp.fc1": "mlp.0", "mlp.fc2": "mlp.3"}


def _renamed(name):
    if name.startswith("patch_embed.proj"):
        return name.replace("patch_embed.proj", "conv_proj")
    if not name.startswith("blocks."):
        return {"cls_token": "class_token", "pos_embed": "encoder.pos_embedding"}.get(name) or "encoder.ln." + name.split(".")[1]
    _, block, rest = name.split(".", 2)
    part, kind = rest.rsplit(".", 1)
    to = "self_attention.in_proj_" + kind if part == "attn.qkv" else f"{_PARTS[part]}.{kind}"
    return f"encoder.layers.encoder_layer_{block}.{to}"


def as_torchvision(kind, state, size, patch):
    """torchvision's network of these weights."""
    model = torchvision.models.vision_transformer.VisionTransformer(size, patch, DEPTH, kind.heads, kind.width, kind.mlp)
    model.heads = nn.Identity()
    model.load_state_dict({_renamed(n): t for n, t in state.items()}, strict=True)
    return model


def names():
    """{name: shape} of timm's list."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "timm-deit_tiny.txt")
    rows = [line.split() for line in open(path) if not line.startswith("#")]
    return {name: tuple(int(n) for n in shape.split("x")) for name, shape in rows}
