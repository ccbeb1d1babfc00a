#!/usr/bin/env python3
"""What the real transformers make of pictures: tiny random models of every family, and DINOv2-S.

usage: make_embeddings.py OUT_DIR         PIXEMBED_MODEL: the default model; PIXEMBED_PHOTOS: photos

OUT_DIR/embeddings/CASE/ is a Hugging Face directory as its own library writes it, with
expected.safetensors: images [N, H, W, 3] uint8 (between crop and rescale; where the processor rescales
first or cuts patches, the pictures themselves, picture.I [height, width, 3]), pixel_values [N, 3, H, W] or [N, patches,
values], last_hidden_state and hidden_states.I [N, tokens, hidden], mean, max and, where there is a class token, cls, and
where there is padding, masked_mean [N, hidden] and pixel_attention_mask [N, tokens]; of a case that says so, float64.mean
and float64.max, which are those of the model in float64.
OUT_DIR/embeddings/dinov2-s14/ has, for the real model, the same file with the photos as they were
encoded (encoded.I) and `directory`, where the model lies. The test is embeddings_golden_test.cc.
"""

import collections.abc
import dataclasses
import json
import os
import pathlib
import shutil
import sys
import typing

os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import numpy as np
import PIL.Image
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModel

from processors import levels_of

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
VIT = {**SIZES, "intermediate_size": 64, "image_size": 32, "patch_size": 8}
DINOV2 = {**SIZES, "mlp_ratio": 4, "image_size": 56, "patch_size": 14}
SWIN = {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4],
        "window_size": 4, "mlp_ratio": 2.0}
HIERA = {"image_size": [64, 64], "embed_dim": 8, "depths": [1, 2, 2, 1], "num_heads": [1, 1, 2, 4]}
TIMM = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4}
NAFLEX = {**SIZES, "intermediate_size": 64, "patch_size": 8, "num_patches": 16}
TEXT = {**SIZES, "intermediate_size": 64, "vocab_size": 99}
PICTURE_SIZES = [(48, 40), (33, 57), (64, 64)]
# Of every aspect ratio; with 20 patches from 1 x 20 to 20 x 1 and, of 48 x 40, all of them.
ASPECTS = [*PICTURE_SIZES, (1, 500), (500, 1), (1, 1), (7, 201), (300, 301), (90, 20), (640, 480)]
PHOTOS = ["china.jpg", "flower.jpg", "astronaut.png", "chelsea.png", "coffee.png"]


def exact(height: int, width: int | None = None) -> dict[str, object]:
    return {"size": {"height": height, "width": width or height}}


def cropped(height: int, width: int | None = None) -> dict[str, object]:
    width = width or height
    return {"size": {"shortest_edge": max(height, width)}, "crop_size": {"height": height, "width": width}}


def with_prefix(directory: pathlib.Path) -> None:
    """The keys as transformers 4 wrote them for a vision tower alone."""
    file = directory / "model.safetensors"
    tensors = load_file(file)
    save_file({f"vision_model.{name}": tensor for name, tensor in tensors.items()}, file,
              metadata={"format": "pt"})


def with_large_logit_scale(directory: pathlib.Path) -> None:
    """Beyond log(100), where SwinV2 clamps it."""
    file = directory / "model.safetensors"
    tensors = load_file(file)
    scales = {name: torch.full_like(tensor, 5.0) for name, tensor in tensors.items() if name.endswith("logit_scale")}
    save_file({**tensors, **scales}, file, metadata={"format": "pt"})


def as_timm_writes_it(directory: pathlib.Path) -> None:
    """As timm's own models on the Hub are: no model_type, and no prefix of the keys."""
    weights = directory / "model.safetensors"
    tensors = load_file(weights)
    save_file({name.removeprefix("timm_model."): tensor for name, tensor in tensors.items()}, weights,
              metadata={"format": "pt"})
    file = directory / "config.json"
    config = json.loads(file.read_text())
    kept = ("architecture", "num_classes", "pretrained_cfg", "model_args")
    file.write_text(json.dumps({"global_pool": "token", "num_features": 32, **{key: config[key] for key in kept}}))


@dataclasses.dataclass(frozen=True)
class Case:
    model: collections.abc.Callable[[], torch.nn.Module]
    processor: hf.BaseImageProcessor | None  # None: it lies in the model's config.json
    reference: typing.Any = AutoModel
    cls: bool = True
    dtype: torch.dtype = torch.float32
    shard: str = "1GB"
    rewrite: collections.abc.Callable[[pathlib.Path], None] | None = None
    sizes: collections.abc.Sequence[tuple[int, int]] = tuple(PICTURE_SIZES)
    float64: bool = False  # the reference's own float32 is too far from it


def vit(**changes: object) -> hf.ViTConfig:
    return hf.ViTConfig(**{**VIT, **changes})


def deit(**changes: object) -> hf.DeiTConfig:
    return hf.DeiTConfig(**{**VIT, **changes})


def vit_mae(**changes: object) -> hf.ViTMAEConfig:
    """All patches: with any other mask_ratio the reference is random."""
    decoder = {"decoder_hidden_size": 16, "decoder_num_attention_heads": 2, "decoder_num_hidden_layers": 1,
               "decoder_intermediate_size": 16}
    return hf.ViTMAEConfig(**{**VIT, **decoder, "mask_ratio": 0.0, **changes})


def vit_msn(**changes: object) -> hf.ViTMSNConfig:
    return hf.ViTMSNConfig(**{**VIT, **changes})


def ijepa(**changes: object) -> hf.IJepaConfig:
    return hf.IJepaConfig(**{**VIT, **changes})


def beit(**changes: object) -> hf.BeitConfig:
    return hf.BeitConfig(**{**VIT, **changes})


def data2vec_vision(**changes: object) -> hf.Data2VecVisionConfig:
    return hf.Data2VecVisionConfig(**{**VIT, **changes})


def dinov2(**changes: object) -> hf.Dinov2Config:
    return hf.Dinov2Config(**{**DINOV2, **changes})


def registers(**changes: object) -> hf.Dinov2WithRegistersConfig:
    return hf.Dinov2WithRegistersConfig(**{**DINOV2, "num_register_tokens": 3, **changes})


def dinov3_vit(**changes: object) -> hf.DINOv3ViTConfig:
    return hf.DINOv3ViTConfig(**{**VIT, "num_register_tokens": 2, **changes})


def mlcd(**changes: object) -> hf.MLCDVisionConfig:
    return hf.MLCDVisionConfig(**{**VIT, **changes})


def clip_vision(**changes: object) -> hf.CLIPVisionConfig:
    return hf.CLIPVisionConfig(**{**VIT, **changes})


def siglip_vision(**changes: object) -> hf.SiglipVisionConfig:
    return hf.SiglipVisionConfig(**{**VIT, **changes})


def siglip2_vision(**changes: object) -> hf.Siglip2VisionConfig:
    return hf.Siglip2VisionConfig(**{**NAFLEX, **changes})


def up_to(patches: int) -> hf.Siglip2ImageProcessor:
    return hf.Siglip2ImageProcessor(patch_size=8, max_num_patches=patches)


def swin(**changes: object) -> hf.SwinConfig:
    return hf.SwinConfig(**{**SWIN, **changes})


def swinv2(**changes: object) -> hf.Swinv2Config:
    return hf.Swinv2Config(**{**SWIN, **changes})


def hiera(**changes: object) -> hf.HieraConfig:
    return hf.HieraConfig(**{**HIERA, **changes})


def timm(architecture: str, processing: dict[str, object] | None = None, reference: typing.Any = hf.TimmWrapperModel,
         num_classes: int = 0, **changes: object) -> torch.nn.Module:
    model_args = {**TIMM, **changes}
    size = model_args["img_size"]
    height, width = size if isinstance(size, list) else (size, size)
    return reference(hf.TimmWrapperConfig.from_dict({
        "architecture": architecture, "num_classes": num_classes, "model_args": model_args,
        "pretrained_cfg": {"input_size": [3, height, width], "crop_pct": 0.9, **(processing or {})}}))


def timm_case(architecture: str, processing: dict[str, object] | None = None, cls: bool = True,
              **changes: object) -> Case:
    return Case(lambda: timm(architecture, processing, **changes), None, cls=cls)


BIT = hf.BitImageProcessor
BEIT = hf.BeitImageProcessor
RELATIVE, SHARED = {"use_relative_position_bias": True}, {"use_shared_relative_position_bias": True}
ABSOLUTE = {"use_absolute_position_embeddings": True}
CASES = {
    "vit": Case(lambda: hf.ViTModel(vit()), hf.ViTImageProcessor(**exact(32))),
    "vit_head": Case(lambda: hf.ViTForImageClassification(vit()), hf.ViTImageProcessor(**exact(32))),
    "vit_rectangular": Case(lambda: hf.ViTModel(vit(image_size=[24, 40], patch_size=[8, 4])),
                            hf.ViTImageProcessor(**exact(24, 40))),
    "vit_remainder": Case(lambda: hf.ViTModel(vit(image_size=30)), hf.ViTImageProcessor(**exact(30))),
    "vit_no_bias": Case(lambda: hf.ViTModel(vit(qkv_bias=False)), hf.ViTImageProcessor(**exact(32))),
    "vit_relu": Case(lambda: hf.ViTModel(vit(hidden_act="relu")), hf.ViTImageProcessor(**exact(32))),
    "vit_silu": Case(lambda: hf.ViTModel(vit(hidden_act="silu")), hf.ViTImageProcessor(**exact(32))),
    "vit_f16": Case(lambda: hf.ViTModel(vit()), hf.ViTImageProcessor(**exact(32)), dtype=torch.float16),
    "vit_bf16": Case(lambda: hf.ViTModel(vit()), hf.ViTImageProcessor(**exact(32)), dtype=torch.bfloat16),
    "vit_crop_pct": Case(lambda: hf.ViTModel(vit()),
                         hf.ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.875)),
    "vit_sharded": Case(lambda: hf.ViTModel(vit()), hf.ViTImageProcessor(**exact(32)), shard="20KB"),
    "deit": Case(lambda: hf.DeiTModel(deit()), hf.DeiTImageProcessor(**exact(40), crop_size=32)),
    "deit_head": Case(lambda: hf.DeiTForImageClassificationWithTeacher(deit()),
                      hf.DeiTImageProcessor(**exact(40), crop_size=32)),
    "vit_mae": Case(lambda: hf.ViTMAEModel(vit_mae()), hf.ViTImageProcessor(**exact(32))),
    "vit_mae_head": Case(lambda: hf.ViTMAEForPreTraining(vit_mae()), hf.ViTImageProcessor(**exact(32))),
    "vit_msn": Case(lambda: hf.ViTMSNModel(vit_msn()), hf.ViTImageProcessor(**exact(32))),
    "vit_msn_head": Case(lambda: hf.ViTMSNForImageClassification(vit_msn()), hf.ViTImageProcessor(**exact(32))),
    "ijepa": Case(lambda: hf.IJepaModel(ijepa()), hf.ViTImageProcessor(**exact(32)), cls=False),
    "ijepa_head": Case(lambda: hf.IJepaForImageClassification(ijepa()), hf.ViTImageProcessor(**exact(32)), cls=False),
    "ijepa_rectangular": Case(lambda: hf.IJepaModel(ijepa(image_size=[24, 40], patch_size=[8, 4])),
                              hf.ViTImageProcessor(**exact(24, 40)), cls=False),
    "beit": Case(lambda: hf.BeitModel(beit()), BEIT(**exact(32))),
    "beit_relative": Case(lambda: hf.BeitModel(beit(**RELATIVE)), BEIT(**exact(32))),
    "beit_shared": Case(lambda: hf.BeitModel(beit(**SHARED)), BEIT(**exact(32))),
    "beit_relative_shared_absolute": Case(lambda: hf.BeitModel(beit(**RELATIVE, **SHARED, **ABSOLUTE)),
                                          BEIT(**exact(32))),
    "beit_relative_enlarged": Case(lambda: hf.BeitModel(beit(**RELATIVE)), BEIT(**exact(40, 58))),
    "beit_relative_rectangular": Case(lambda: hf.BeitModel(beit(**RELATIVE, image_size=[24, 43])),
                                      BEIT(**exact(24, 43))),
    "beit_shared_rectangular_shrunk": Case(lambda: hf.BeitModel(beit(**SHARED, image_size=[56, 24])),
                                           BEIT(**exact(32, 16))),
    "beit_absolute_interpolated": Case(lambda: hf.BeitModel(beit(**ABSOLUTE)), BEIT(**exact(24, 56))),
    "beit_normalized": Case(lambda: hf.BeitModel(beit(use_mean_pooling=False)), BEIT(**exact(32))),
    "beit_unscaled": Case(lambda: hf.BeitModel(beit(**RELATIVE, layer_scale_init_value=0.0)), BEIT(**exact(32))),
    "beit_head": Case(lambda: hf.BeitForImageClassification(beit(**RELATIVE)), BEIT(**exact(32))),
    "beit_masked_head": Case(lambda: hf.BeitForMaskedImageModeling(beit(**SHARED, use_mask_token=True)),
                             BEIT(**exact(32))),
    "data2vec_vision": Case(lambda: hf.Data2VecVisionModel(data2vec_vision()), BEIT(**exact(32))),
    "data2vec_vision_relative_shared": Case(
        lambda: hf.Data2VecVisionModel(data2vec_vision(**RELATIVE, **SHARED, use_mean_pooling=False)),
        BEIT(**exact(32))),
    "data2vec_vision_rectangular": Case(
        lambda: hf.Data2VecVisionModel(data2vec_vision(**RELATIVE, image_size=[24, 40])), BEIT(**exact(40, 32))),
    "data2vec_vision_head": Case(
        lambda: hf.Data2VecVisionForImageClassification(data2vec_vision(**SHARED, **ABSOLUTE)), BEIT(**exact(32))),
    "dinov2": Case(lambda: hf.Dinov2Model(dinov2()), BIT(**cropped(56))),
    "dinov2_interpolated": Case(lambda: hf.Dinov2Model(dinov2(image_size=70)), BIT(**cropped(42))),
    "dinov2_enlarged": Case(lambda: hf.Dinov2Model(dinov2(image_size=42)), BIT(**cropped(75))),
    "dinov2_rectangular": Case(lambda: hf.Dinov2Model(dinov2()), BIT(**cropped(28, 112))),
    "dinov2_swiglu": Case(lambda: hf.Dinov2Model(dinov2(use_swiglu_ffn=True)), BIT(**cropped(56))),
    "dinov2_head": Case(lambda: hf.Dinov2ForImageClassification(dinov2()), BIT(**cropped(56))),
    "dinov2_with_registers": Case(lambda: hf.Dinov2WithRegistersModel(registers()), BIT(**cropped(56))),
    "dinov2_with_registers_interpolated": Case(
        lambda: hf.Dinov2WithRegistersModel(registers(image_size=70)), BIT(**cropped(42))),
    "dinov2_with_registers_enlarged": Case(
        lambda: hf.Dinov2WithRegistersModel(registers(image_size=42)), BIT(**cropped(70, 56))),
    "dinov2_with_registers_swiglu_head": Case(
        lambda: hf.Dinov2WithRegistersForImageClassification(registers(use_swiglu_ffn=True)), BIT(**cropped(56))),
    "dinov3_vit": Case(lambda: hf.DINOv3ViTModel(dinov3_vit()), hf.DINOv3ViTImageProcessor(**exact(32))),
    "dinov3_vit_gated": Case(
        lambda: hf.DINOv3ViTModel(dinov3_vit(use_gated_mlp=True, hidden_act="silu", num_register_tokens=0)),
        hf.ViTImageProcessor(**exact(32))),
    "dinov3_vit_rectangular": Case(lambda: hf.DINOv3ViTModel(dinov3_vit(use_gated_mlp=True, rope_theta=50.0)),
                                   hf.ViTImageProcessor(**exact(24, 58))),
    "dinov3_vit_biases": Case(
        lambda: hf.DINOv3ViTModel(dinov3_vit(query_bias=False, key_bias=True, value_bias=False, proj_bias=False,
                                             mlp_bias=False)), hf.ViTImageProcessor(**exact(40))),
    "mlcd_vision_model": Case(lambda: hf.MLCDVisionModel(mlcd()), hf.CLIPImageProcessor(**cropped(32))),
    "mlcd_vision_model_prefixed": Case(lambda: hf.MLCDVisionModel(mlcd(hidden_act="quick_gelu", rope_theta=500.0)),
                                       hf.CLIPImageProcessor(**cropped(24, 40)), rewrite=with_prefix),
    "clip": Case(lambda: hf.CLIPModel(hf.CLIPConfig(text_config=TEXT, vision_config=VIT)),
                 hf.CLIPImageProcessor(**cropped(32)), reference=hf.CLIPVisionModel),
    "clip_vision_model": Case(lambda: hf.CLIPVisionModel(clip_vision()), hf.CLIPImageProcessor(**cropped(32))),
    "clip_vision_model_prefixed": Case(lambda: hf.CLIPVisionModel(clip_vision(hidden_act="gelu")),
                                       hf.CLIPImageProcessor(**cropped(32)), rewrite=with_prefix),
    "siglip": Case(lambda: hf.SiglipModel(hf.SiglipConfig(text_config=TEXT, vision_config=VIT)),
                   hf.SiglipImageProcessor(**exact(32)), reference=hf.SiglipVisionModel, cls=False),
    "siglip_vision_model": Case(lambda: hf.SiglipVisionModel(siglip_vision()),
                                hf.SiglipImageProcessor(**exact(32)), cls=False),
    "siglip_vision_model_prefixed": Case(lambda: hf.SiglipVisionModel(siglip_vision(vision_use_head=False)),
                                         hf.SiglipImageProcessor(**exact(32)), cls=False, rewrite=with_prefix),
    "siglip2": Case(lambda: hf.Siglip2Model(hf.Siglip2Config(text_config=TEXT, vision_config=NAFLEX)),
                    up_to(20), reference=hf.Siglip2VisionModel, cls=False, sizes=ASPECTS),
    "siglip2_vision_model": Case(lambda: hf.Siglip2VisionModel(siglip2_vision()), up_to(16), cls=False,
                                 sizes=ASPECTS),
    "siglip2_vision_model_prefixed": Case(
        lambda: hf.Siglip2VisionModel(siglip2_vision(vision_use_head=False, num_patches=49)), up_to(37), cls=False,
        rewrite=with_prefix, sizes=ASPECTS),
    "siglip2_vision_model_bf16": Case(lambda: hf.Siglip2VisionModel(siglip2_vision(num_patches=9)), up_to(40),
                                      cls=False, dtype=torch.bfloat16, sizes=ASPECTS),
    "siglip2_vision_model_one_patch": Case(lambda: hf.Siglip2VisionModel(siglip2_vision()), up_to(1), cls=False,
                                           sizes=ASPECTS),
    # Grids of 8x8 and 4x4: the first has shifted windows, the second is one window.
    "swin": Case(lambda: hf.SwinModel(swin()), hf.ViTImageProcessor(**exact(32)), cls=False),
    "swin_head": Case(lambda: hf.SwinForImageClassification(swin()), hf.ViTImageProcessor(**exact(32)), cls=False),
    # 13x13 and 7x7, padded to 15x15, 14x14 and 9x9; an odd window is shifted by its smaller half.
    "swin_odd_grid": Case(lambda: hf.SwinModel(swin(image_size=52, window_size=3)),
                          hf.ViTImageProcessor(**exact(52)), cls=False),
    "swin_rectangular": Case(lambda: hf.SwinModel(swin(image_size=[24, 56], window_size=3, depths=[3, 2])),
                             hf.ViTImageProcessor(**exact(24, 56)), cls=False),
    "swin_patches_padded": Case(lambda: hf.SwinModel(swin(image_size=32)), hf.ViTImageProcessor(**exact(30, 37)),
                                cls=False),
    "swin_other_size": Case(lambda: hf.SwinModel(swin()), hf.ViTImageProcessor(**exact(64, 40)), cls=False),
    "swin_absolute": Case(lambda: hf.SwinModel(swin(use_absolute_embeddings=True, qkv_bias=False)),
                          hf.ViTImageProcessor(**exact(32)), cls=False),
    "swin_stages": Case(
        lambda: hf.SwinModel(swin(image_size=56, depths=[2, 1, 2], num_heads=[1, 2, 4], window_size=2)),
        hf.ViTImageProcessor(**exact(56)), cls=False),
    "swinv2": Case(lambda: hf.Swinv2Model(swinv2(pretrained_window_sizes=[0, 0])),
                   hf.ViTImageProcessor(**exact(32)), cls=False),
    "swinv2_head": Case(lambda: hf.Swinv2ForImageClassification(swinv2(pretrained_window_sizes=[0, 0])),
                        hf.ViTImageProcessor(**exact(32)), cls=False),
    "swinv2_pretrained_windows": Case(
        lambda: hf.Swinv2Model(swinv2(image_size=48, window_size=6, pretrained_window_sizes=[3, 2])),
        hf.ViTImageProcessor(**exact(48)), cls=False),
    "swinv2_scale_clamped": Case(lambda: hf.Swinv2Model(swinv2(pretrained_window_sizes=[0, 0])),
                                 hf.ViTImageProcessor(**exact(32)), cls=False, rewrite=with_large_logit_scale,
                                 float64=True),
    # The second stage has 6x6 tokens, less than a window: it is clamped.
    "swinv2_window_clamped": Case(
        lambda: hf.Swinv2Model(swinv2(image_size=52, window_size=7, depths=[2, 3], pretrained_window_sizes=[0, 5])),
        hf.ViTImageProcessor(**exact(52)), cls=False),
    "swinv2_other_size": Case(lambda: hf.Swinv2Model(swinv2(pretrained_window_sizes=[0, 0], qkv_bias=False)),
                              hf.ViTImageProcessor(**exact(44, 30)), cls=False),
    "hiera": Case(lambda: hf.HieraModel(hiera()), BIT(**cropped(64)), cls=False),
    "hiera_head": Case(lambda: hf.HieraForImageClassification(hiera()), BIT(**cropped(64)), cls=False),
    "hiera_pretraining": Case(
        lambda: hf.HieraForPreTraining(hiera(decoder_hidden_size=16, decoder_depth=1, decoder_num_heads=2)),
        BIT(**cropped(64)), cls=False),
    "hiera_rectangular": Case(
        lambda: hf.HieraModel(hiera(image_size=[32, 64], masked_unit_size=[4, 8], depths=[2, 1], num_heads=[2, 2],
                                    query_stride=[2, 4], num_query_pool=1, masked_unit_attention=[True, False])),
        BIT(**cropped(32, 64)), cls=False),
    "hiera_pooled_once": Case(lambda: hf.HieraModel(hiera(num_query_pool=1, mlp_ratio=2.5)), BIT(**cropped(64)),
                              cls=False),
    "hiera_units": Case(
        lambda: hf.HieraModel(hiera(masked_unit_attention=[False, True, True, False], embed_dim_multiplier=1.5,
                                    num_heads=[1, 2, 3, 3], layer_norm_eps=1e-5, hidden_act="gelu_pytorch_tanh")),
        BIT(**cropped(64)), cls=False),
    "hiera_whole_patches": Case(
        lambda: hf.HieraModel(hiera(patch_size=[4, 4], patch_padding=[0, 0], masked_unit_attention=[True] * 4)),
        BIT(**cropped(64)), cls=False),
    "timm": timm_case("vit_tiny_patch16_224"),
    "timm_head": Case(lambda: timm("deit_small_patch16_224", reference=hf.TimmWrapperForImageClassification,
                                   num_classes=5), None),
    "timm_own_file": Case(lambda: timm("vit_tiny_patch16_224"), None, rewrite=as_timm_writes_it),
    "timm_no_model_args": Case(
        lambda: hf.TimmWrapperModel(hf.TimmWrapperConfig.from_dict(
            {"architecture": "test_vit3", "num_classes": 0, "pretrained_cfg": {"input_size": [3, 160, 160]}})),
        None, cls=False),
    "timm_rectangular": timm_case("vit_tiny_patch16_224", img_size=[24, 40], patch_size=[8, 4]),
    "timm_remainder": timm_case("vit_base_patch32_224", {"crop_mode": "border"}, img_size=[30, 37]),
    "timm_mlp_ratio": timm_case("vit_giant_patch14_224", {"interpolation": "bilinear"}, mlp_ratio=2.572),
    "timm_no_qkv_bias": timm_case("vit_base_patch16_224_miil", {"mean": [0.0] * 3, "std": [1.0] * 3}),
    "timm_clip": timm_case("vit_base_patch16_clip_224"),
    "timm_clip_quickgelu": timm_case("vit_base_patch16_clip_quickgelu_224"),
    "timm_siglip": timm_case("vit_base_patch16_siglip_224", {"crop_mode": "squash"}, cls=False),
    "timm_siglip_tanh": timm_case("vit_large_patch16_siglip_gap_512", {"crop_mode": "squash"}, cls=False),
    "timm_dinov2": timm_case("vit_small_patch14_dinov2", {"crop_pct": 1.0}),
    "timm_dinov2_registers": timm_case("vit_small_patch14_reg4_dinov2"),
    "timm_dinov2_giant": timm_case("vit_giant_patch14_dinov2"),
    "timm_dinov2_giant_registers": timm_case("vit_giant_patch14_reg4_dinov2"),
    "timm_tips_giant": timm_case("vit_giant_patch14_reg1_tipsv2"),
    "timm_deit3": timm_case("deit3_small_patch16_224"),
    "timm_distilled": timm_case("deit_tiny_distilled_patch16_224"),
    "timm_flexivit": timm_case("flexivit_small"),
    "timm_eva": timm_case("eva_large_patch14_196"),
    "timm_gap": timm_case("vit_medium_patch16_gap_256", cls=False),
    "timm_gap_register": timm_case("vit_medium_patch16_reg1_gap_256", cls=False),
    "timm_gap_registers": timm_case("vit_base_patch16_reg4_gap_256", cls=False),
    "timm_map_registers": timm_case("vit_so150m_patch16_reg4_map_256", cls=False),
    "timm_so150m2": timm_case("vit_so150m2_patch16_reg1_gap_256", cls=False),
    "timm_radio": timm_case("vit_huge_patch16_radio_v4"),
    "timm_radio_scaled": timm_case("vit_base_patch16_radio_v3"),
}


def fill(model: torch.nn.Module) -> None:
    """Weights large enough that a wrong one shows, small enough that rounding does not.

    The same bits on every machine, which torch.randn does not give: their fingerprints are pinned.
    """
    rng = np.random.default_rng(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.from_numpy(rng.uniform(-1.75, 1.75, parameter.shape).astype(np.float32))
            scale = "norm" in name or "layrnorm" in name or "lambda" in name or name.endswith("gamma")
            if name.endswith("logit_scale"):  # a logarithm: about where training starts
                parameter.copy_(2.3 + 0.15 * noise)
                continue
            around_one = scale and name.endswith(("weight", "gamma", "lambda1", "lambda_1", "lambda_2"))
            parameter.copy_(1 + 0.2 * noise if around_one else 0.15 * noise)


def pictures(sizes: collections.abc.Sequence[tuple[int, int]] = tuple(PICTURE_SIZES)) -> list[PIL.Image.Image]:
    rng = np.random.default_rng(5)
    return [PIL.Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in sizes]


def expected(directory: pathlib.Path, reference: typing.Any, images: list[PIL.Image.Image],
             cls: bool) -> dict[str, torch.Tensor]:
    processor = AutoImageProcessor.from_pretrained(directory)
    model = reference.from_pretrained(directory, dtype=torch.float32).eval()
    inputs = processor(images, return_tensors="pt")
    with torch.no_grad():
        output = model(**inputs, output_hidden_states=True)
    hidden = output.last_hidden_state
    tensors = {
        "pixel_values": inputs["pixel_values"],
        "last_hidden_state": hidden,
        "mean": hidden.mean(1),
        "max": hidden.amax(1),
    }
    for i, state in enumerate(output.hidden_states):
        tensors[f"hidden_states.{i}"] = state.clone()  # the last may be last_hidden_state itself
    if "pixel_attention_mask" in inputs:
        mask = inputs["pixel_attention_mask"]
        own = [rows[rows_mask == 1].mean(0) for rows, rows_mask in zip(hidden, mask, strict=True)]
        tensors |= {"masked_mean": torch.stack(own), "pixel_attention_mask": mask}
    if isinstance(processor, (hf.DINOv3ViTImageProcessor, hf.Siglip2ImageProcessor)):
        tensors |= {f"picture.{i}": torch.from_numpy(np.array(image)) for i, image in enumerate(images)}
    else:
        tensors["images"] = levels_of(processor, images).permute(0, 2, 3, 1)
    if cls:
        tensors["cls"] = hidden[:, 0]
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def make_tiny(name: str, case: Case, out: pathlib.Path) -> None:
    directory = out / name
    shutil.rmtree(directory, ignore_errors=True)
    model = case.model()
    fill(model)
    model.to(case.dtype).save_pretrained(directory, max_shard_size=case.shard)
    if case.rewrite:
        case.rewrite(directory)
    if case.processor:
        case.processor.save_pretrained(directory)
    tensors = expected(directory, case.reference, pictures(case.sizes), case.cls)
    if case.float64:
        model = case.reference.from_pretrained(directory, dtype=torch.float64).eval()
        with torch.no_grad():
            hidden = model(tensors["pixel_values"].double()).last_hidden_state
        tensors |= {"float64.mean": hidden.mean(1).float(), "float64.max": hidden.amax(1).float()}
    save_file(tensors, directory / "expected.safetensors")


def expected_of_photos(model: pathlib.Path) -> dict[str, torch.Tensor]:
    photos = pathlib.Path(os.environ["PIXEMBED_PHOTOS"])
    images = [PIL.Image.open(photos / photo).convert("RGB") for photo in PHOTOS]
    tensors = expected(model, AutoModel, images, cls=True)
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("hidden_states.")}
    for i, photo in enumerate(PHOTOS):
        tensors[f"encoded.{i}"] = torch.from_numpy(np.fromfile(photos / photo, dtype=np.uint8))
    return tensors


def make_real(out: pathlib.Path) -> None:
    model, directory = pathlib.Path(os.environ["PIXEMBED_MODEL"]), out / "dinov2-s14"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "directory").write_text(str(model))
    save_file(expected_of_photos(model), directory / "expected.safetensors")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = pathlib.Path(sys.argv[1]) / "embeddings"
    hf.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    for name, case in CASES.items():
        make_tiny(name, case, out)
    make_real(out)


if __name__ == "__main__":
    main()
