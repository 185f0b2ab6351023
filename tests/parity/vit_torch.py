"""vit_torch - DeiT in PyTorch under timm's names, written from the papers: what networks of tokens are compared with

    model = DeiT(small=False)                    the position embedding takes its length from the weights that are loaded
    feature = model(images)                      the class token after the last norm

For images of another size the embedding is resized, as by DeiT's fine-tuning code. Every block computes all its tokens, as timm
does. as_torchvision() gives the same function by torchvision's own VisionTransformer: the check of this file.
names() reads timm-deit_tiny.txt, timm's list of tensors for deit_tiny_patch16_224 without its classifier.
"""
import math
import os

import torch
import torchvision
from torch import nn

WIDTH, DEPTH, HEADS, MLP, PATCH, PATCH_SMALL, EPS = 192, 12, 3, 768, 16, 4, 1e-6


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        n, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        p = (q @ k.transpose(-2, -1) * (WIDTH // HEADS) ** -0.5).softmax(-1)
        return self.proj((p @ v).transpose(1, 2).reshape(n, tokens, WIDTH))


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(WIDTH, MLP), nn.GELU(), nn.Linear(MLP, WIDTH)

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(WIDTH, EPS), Attention()
        self.norm2, self.mlp = nn.LayerNorm(WIDTH, EPS), Mlp()

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Patches(nn.Module):
    def __init__(self, patch):
        super().__init__()
        self.proj = nn.Conv2d(3, WIDTH, patch, patch)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class DeiT(nn.Module):
    interpolation = "bicubic"

    def __init__(self, small):
        super().__init__()
        self.cls_token, self.pos_embed = nn.Parameter(torch.zeros(1, 1, WIDTH)), nn.Parameter(torch.zeros(1, 197, WIDTH))
        self.patch_embed = Patches(PATCH_SMALL if small else PATCH)
        self.blocks = nn.Sequential(*[Block() for _ in range(DEPTH)])
        self.norm = nn.LayerNorm(WIDTH, EPS)

    def positions(self, h, w):
        """For h x w patches; a square of them is resized where their number is another."""
        if self.pos_embed.shape[1] == 1 + h * w:
            return self.pos_embed
        side = math.isqrt(self.pos_embed.shape[1] - 1)
        grid = self.pos_embed[:, 1:].reshape(1, side, side, WIDTH).permute(0, 3, 1, 2)
        grid = nn.functional.interpolate(grid, size=(h, w), mode=self.interpolation, align_corners=False)
        return torch.cat([self.pos_embed[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], 1)

    def forward(self, x):
        h, w = (n // self.patch_embed.proj.kernel_size[0] for n in x.shape[2:])
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), self.patch_embed(x)], 1) + self.positions(h, w)
        return self.norm(self.blocks(x))[:, 0]

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


def as_torchvision(state, size, patch):
    """torchvision's network of these weights."""
    model = torchvision.models.vision_transformer.VisionTransformer(size, patch, DEPTH, HEADS, WIDTH, MLP)
    model.heads = nn.Identity()
    model.load_state_dict({_renamed(n): t for n, t in state.items()}, strict=True)
    return model


def names():
    """{name: shape} of timm's list."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "timm-deit_tiny.txt")
    rows = [line.split() for line in open(path) if not line.startswith("#")]
    return {name: tuple(int(n) for n in shape.split("x")) for name, shape in rows}
