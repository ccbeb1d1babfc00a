#!/usr/bin/env python3
"""Which of timm's architectures are plain vision transformers, and of what sizes: OUT_DIR/timm.txt.

usage: make_timm.py OUT_DIR

A line for each architecture of timm's vision_transformer.py and deit.py that is built of the parts that
src/model/families/timm.cc has and of no others: its name, a tab, what the modules of the real model, built without
memory, say of themselves. The test is timm_golden_test.cc.
"""

import pathlib
import re
import sys
import warnings

import timm
from timm.layers import Attention, GluMlp, LayerNorm, LayerScale, Mlp, PatchEmbed
from timm.models import list_models
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

MODULES = ("vision_transformer", "deit")
# Exactly these classes, no subclasses.
PARTS = {nn.Identity, nn.Dropout, nn.Linear, nn.Conv2d, nn.Sequential, nn.LayerNorm, LayerNorm, LayerScale, Attention,
         Block, PatchEmbed, Mlp, GluMlp}
ACTIVATIONS = {"GELU": "gelu", "GELUTanh": "gelu_pytorch_tanh", "QuickGELU": "quick_gelu", "SiLU": "silu"}
PARAMETERS = re.compile(
    r"cls_token|dist_token|reg_token|pos_embed|((patch_embed\.proj|norm_pre|norm|fc_norm|"
    r"blocks\.\d+\.(norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2))\.(weight|bias))|blocks\.\d+\.ls[12]\.gamma")


def the_only(values):
    first, *others = set(values)
    assert not others, values
    return first


def is_plain(model):
    if type(model) not in (VisionTransformer, VisionTransformerDistilled) or model.dynamic_img_size:
        return False
    model.attn_pool = None  # of the pooled output alone
    own = [module for module in model.modules() if module is not model]
    return (all(type(module) in PARTS or type(module).__name__ in ACTIVATIONS for module in own)
            and all(PARAMETERS.fullmatch(name) for name, _ in model.named_parameters())
            and model.pos_embed is not None and model.patch_embed.strict_img_size)


def facts(model):
    blocks, norms = list(model.blocks), [module for module in model.modules() if isinstance(module, nn.LayerNorm)]
    attention, mlp = [block.attn for block in blocks], [block.mlp for block in blocks]
    patch = model.patch_embed
    gated = the_only(type(part) is GluMlp for part in mlp)
    assert not gated or not any(part.gate_last for part in mlp)
    assert (patch.proj.bias is None) == isinstance(model.norm_pre, nn.LayerNorm)
    assert the_only(part.head_dim * part.num_heads for part in attention) == model.embed_dim
    return {
        "width": model.embed_dim,
        "layers": len(blocks),
        "heads": the_only(part.num_heads for part in attention),
        "intermediate": the_only(part.fc1.out_features for part in mlp),
        "image": the_only(patch.img_size),
        "patch": the_only(patch.patch_size),
        "epsilon": the_only(norm.eps for norm in norms),
        "activation": ACTIVATIONS[the_only(type(part.act).__name__ for part in mlp)],
        "qkv_bias": int(the_only(part.qkv.bias is not None for part in attention)),
        "gated": int(gated),
        "class_token": int(model.has_class_token),
        "distillation_token": int(isinstance(model, VisionTransformerDistilled)),
        "registers": model.num_reg_tokens,
        "positions_of_patches_only": int(model.no_embed_class),
        "norm_before": int(isinstance(model.norm_pre, nn.LayerNorm)),
        "norm_after": int(isinstance(model.norm, nn.LayerNorm)),
        "layer_scale": int(the_only(isinstance(scale, LayerScale) for block in blocks for scale in (block.ls1, block.ls2))),
    }


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    warnings.simplefilter("ignore")
    lines = []
    for name in sorted(name for module in MODULES for name in list_models(module=module)):
        model = timm.create_model(name, num_classes=0, device="meta")
        if is_plain(model):
            lines.append(name + "\t" + " ".join(f"{key}={value}" for key, value in facts(model).items()) + "\n")
    (pathlib.Path(sys.argv[1]) / "timm.txt").write_text("".join(lines))
    print(f"timm.txt: {len(lines)} architectures")


if __name__ == "__main__":
    main()
