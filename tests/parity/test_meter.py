"""test_meter - what a network's forward pass multiplies, from the table of operations, against published numbers"""
from ctypes import c_double, c_void_p

from net_ct import ARCHS, Net, declare, lib
from sprat_ct import check, done

declare("plan_flops", c_double, c_void_p)

# Multiply-adds of one image of 224 pixels with a classifier of 1000 classes, in 10^9: torchvision's documentation of its weights.
PUBLISHED = {"resnet18": 1.814, "resnet34": 3.664, "resnet50": 4.089, "resnet101": 7.801, "mobilenet_v2": 0.301,
             "mobilenet_v3_small": 0.057, "mobilenet_v3_large": 0.217, "efficientnet_b0": 0.386, "efficientnet_b1": 0.687,
             "shufflenet_v2_x1_0": 0.145}
# timm's deit_tiny_patch16_224 has 1.26, its others and torchvision's vit_b_16 as follows. They compute all 197 tokens of the last
# block, of which only the first is used: 196 queries less of scores and values, of the projection and of the two layers after it.
TOKENS = 197
for arch, d, published in (("deit_tiny", 192, 1.26), ("deit_small", 384, 4.61), ("vit_base", 768, 17.58)):
    PUBLISHED[arch] = published - (TOKENS - 1) * (2 * TOKENS * d + d * d + 2 * 4 * d * d) * 1e-9
# Of others nobody has published it.
COUNTED = ("resnet50w2", "vit_tiny_ssl")


SIZES = {"efficientnet_b1": 240}     # of the picture, where it is another


def gmac(arch, small=False, size=224):
    net = Net(arch, small, "linear", 1000, (size, size))  # it lives as long as its name
    return lib.plan_flops(net.plan((size, size))) * 0.5e-9


if __name__ == "__main__":
    check("every architecture has a published number", {*PUBLISHED, *COUNTED} == set(ARCHS), {*PUBLISHED, *COUNTED} ^ set(ARCHS))
    for arch, published in PUBLISHED.items():
        ours = gmac(arch, size=SIZES.get(arch, 224))
        # 0.5 in the last digit of what is published, and at most 1 %
        check(f"multiply-adds of {arch}", abs(ours - published) <= 0.01 * published, f"{ours:.4f} not {published:.4f}")
    done()
