#!/usr/bin/env python3
"""What the real image processors make of many preprocessor_config.json: OUT_DIR/processors.json.

usage: make_processors.py OUT_DIR

For each configuration and backend: what AutoImageProcessor resolves it to, or that it cannot be used
(from_pretrained fails, or preprocessing a picture does). The test is processors_golden_test.cc.
"""

import itertools
import json
import pathlib
import sys
import tempfile

import PIL.Image
import torch
import transformers
from timm.data.transforms import CenterCropOrPad, ResizeKeepRatio
from torchvision.transforms.functional import pil_modes_mapping
from transformers import AutoImageProcessor
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

from processors import file_of

CLASSES = ["ViT", "DeiT", "Beit", "Bit", "CLIP", "Siglip", "ConvNext", "DINOv3ViT"]
BACKENDS = ["torchvision", "pil"]
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}

# Keys that are laid over every class.
OVERLAYS = [
    {},
    {"size": 48},
    {"size": [48, 60]},
    {"size": {"height": 48, "width": 60}},
    {"size": {"shortest_edge": 48}},
    {"size": {"shortest_edge": 48, "longest_edge": 64}},
    {"size": {"shortest_edge": 48, "longest_edge": None}},
    {"size": 48, "default_to_square": True},
    {"size": 48, "default_to_square": False},
    {"size": 48, "default_to_square": None},
    {"size": [48, 60], "default_to_square": False},
    {"size": 48, "max_size": 64},
    {"do_center_crop": True, "crop_size": 40},
    {"do_center_crop": True, "crop_size": [40, 44]},
    {"do_center_crop": True, "crop_size": {"height": 40, "width": 44}},
    {"do_center_crop": True},
    {"do_center_crop": False},
    {"do_center_crop": False, "crop_size": 40},
    {"do_center_crop": None},
    {"crop_size": 40},
    {"crop_size": None},
    {"do_resize": False},
    {"do_resize": None},
    {"do_resize": False, "size": None},
    {"size": None},
    {"resample": 2},
    {"resample": 3},
    {"resample": None},
    {"do_resize": False, "resample": None},
    {"do_rescale": False},
    {"do_rescale": None},
    {"rescale_factor": 0.5},
    {"rescale_factor": 1},
    {"rescale_factor": 1 / 127.5},
    {"rescale_factor": None},
    {"do_rescale": False, "rescale_factor": None},
    {"do_normalize": False},
    {"do_normalize": None},
    {"do_normalize": False, "do_rescale": False},
    {"do_normalize": False, "image_mean": None, "image_std": None},
    IMAGENET,
    {"image_mean": 0.25, "image_std": 0.75},
    {"image_mean": None},
    {"image_std": None},
    {"image_mean": [0.5, 0.5]},
    {"image_mean": [0.1, 0.2, 0.3, 0.4]},
    {"do_convert_rgb": True},
    {"do_convert_rgb": False},
    {"do_convert_rgb": None},
    {"do_convert_rgb": 1, "refused": True},
    {"data_format": "channels_first", "input_data_format": None, "device": None, "return_tensors": None},
    {"processor_class": "SomeProcessor", "disable_grouping": None, "image_seq_length": None},
    {"do_pad": False, "pad_size": None},
    {"do_pad": None},
    {"reduce_labels": True, "do_reduce_labels": True},
    {"auto_map": {"AutoImageProcessor": "some_module.SomeClass"}},
    {"use_square_size": False},
    {"size": 224, "crop_pct": 0.95},
    {"size": {"shortest_edge": 224, "longest_edge": 300}, "crop_pct": 0.9},
    {"size": 224, "crop_pct": None},
    {"size": 400, "crop_pct": None},
    {"size": {"height": 48}},
    {"size": {"height": 48, "width": None}},
    {"size": {"height": 48, "width": 0}},
    {"size": {}},
    {"size": {"longest_edge": 48}},
    {"size": [48]},
    {"size": "48"},
    {"size": 48.0},
    {"size": 0},
    {"size": -5},
    {"do_center_crop": True, "crop_size": {"shortest_edge": 40}},
    {"do_center_crop": True, "crop_size": "40"},
    {"resample": 8},
    {"resample": "bilinear"},
    {"image_mean": [0.5, "x", 0.5]},
    # Work in the reference, and are refused here on purpose.
    {"do_pad": True, "pad_size": 300, "refused": True},
    {"size": {"max_height": 48, "max_width": 60}, "refused": True},
    {"do_resize": 1, "refused": True},
    {"do_normalize": "no", "refused": True},
    {"size": [48, 60, 9], "refused": True},
    {"resample": 7, "refused": True},
    {"image_mean": "0.5", "refused": True},
    {"image_std": [0.5, 0, 0.5], "refused": True},
]

# Keys that are laid over the class that counts patches.
PATCHES = [
    {},
    {"patch_size": 14},
    {"max_num_patches": 40},
    {"patch_size": 8, "max_num_patches": 1},
    {"patch_size": 16, "max_num_patches": 4096},
    {"patch_size": None},
    {"max_num_patches": None},
    {"patch_size": 0},
    {"patch_size": -16},
    {"patch_size": [16, 16]},
    {"patch_size": "16"},
    {"max_num_patches": "256"},
    {"max_num_patches": 0, "refused": True},
    {"patch_size": 16.0, "refused": True},
    {"max_num_patches": 256.5, "refused": True},
    {"patch_size": 4, "max_num_patches": 4097, "refused": True},
    {"size": None, "crop_size": None, "do_center_crop": None, "default_to_square": True},
    {"crop_size": 40},
    {"do_center_crop": False},
    {"do_center_crop": True},
    {"do_resize": False},
    {"do_resize": None},
    {"do_resize": False, "patch_size": 10, "refused": True},
    {"resample": 2},
    {"resample": 3},
    {"resample": 8},
    {"do_rescale": False},
    {"do_rescale": None},
    {"rescale_factor": 1 / 127.5},
    {"rescale_factor": None},
    {"do_normalize": False},
    {"do_normalize": False, "do_rescale": False},
    IMAGENET,
    {"image_mean": None},
    {"image_std": [0.5, 0.5]},
    {"do_convert_rgb": True},
    {"do_convert_rgb": False},
    {"do_convert_rgb": None},
    {"data_format": "channels_first", "input_data_format": None, "device": None, "return_tensors": None},
    # Work in the reference, which does not look at them, and are refused here on purpose.
    {"size": 48, "refused": True},
    {"do_center_crop": True, "crop_size": 40, "refused": True},
    {"resample": None, "refused": True},
]

# Whole files, as they lie on the Hub or as transformers 4 and 5 write them; and ways to name a class.
FILES = [
    ("vit", {"do_normalize": True, "do_resize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": 64}),
    ("deit", {"crop_size": 56, "do_center_crop": True, "do_normalize": True, "do_resize": True, **IMAGENET,
              "feature_extractor_type": "DeiTFeatureExtractor", "resample": 3, "size": 64}),
    ("clip", {"crop_size": 56, "do_center_crop": True, "do_normalize": True, "do_resize": True, "resample": 3,
              "feature_extractor_type": "CLIPFeatureExtractor", "size": 56}),
    ("siglip", {"do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.5] * 3,
                "image_processor_type": "SiglipImageProcessor", "image_std": [0.5] * 3,
                "processor_class": "SiglipProcessor", "resample": 3, "rescale_factor": 0.00392156862745098,
                "size": {"height": 64, "width": 64}}),
    ("dinov2", {"crop_size": {"height": 56, "width": 56}, "do_center_crop": True, "do_convert_rgb": True,
                "do_normalize": True, "do_rescale": True, "do_resize": True, **IMAGENET,
                "image_processor_type": "BitImageProcessor", "resample": 3,
                "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": 64}}),
    ("beit", {"crop_size": 56, "do_center_crop": False, "do_normalize": True, "do_resize": True,
              "feature_extractor_type": "BeitFeatureExtractor", "resample": 2, "size": 64}),
    ("vit", {"image_processor_type": "ViTImageProcessorFast", "crop_size": None, "data_format": "channels_first",
             "default_to_square": True, "device": None, "do_center_crop": None, "do_convert_rgb": None,
             "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.5] * 3,
             "image_std": [0.5] * 3, "input_data_format": None, "resample": 2, "return_tensors": None,
             "rescale_factor": 0.00392156862745098, "size": {"height": 64, "width": 64}}),
    ("dinov2", {"image_processor_type": "DeiTImageProcessor"}),
    ("vit", {"image_processor_type": "CLIPImageProcessorPil"}),
    ("vit", {"image_processor_type": "CLIPImageProcessorPilFast"}),
    ("vit", {"image_processor_type": "ViTFeatureExtractor"}),
    ("vit", {"image_processor_type": None, "feature_extractor_type": "CLIPFeatureExtractor"}),
    ("vit", {"image_processor_type": "", "feature_extractor_type": "CLIPFeatureExtractor"}),
    ("vit", {"image_processor_type": "NoSuchImageProcessor"}),
    ("vit", {"image_processor_type": True}),
    ("vit", {"feature_extractor_type": "BitImageProcessor"}),
    ("vit", {"feature_extractor_type": "CLIPFeatureExtractor", "auto_map": {"AutoImageProcessor": "a.B"}}),
    ("clip_vision_model", {}),
    ("siglip_vision_model", {}),
    ("dinov2_with_registers", {}),
    ("clip", {"image_processor_type": "CLIPImageProcessor", "use_square_size": True, "refused": True}),
    ("vit", {"image_processor_type": "ConvNextImageProcessor"}),
    ("vit", {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": 0.875}),
    ("vit", {"image_processor_type": "ConvNextImageProcessor", "size": 64, "do_center_crop": True,
             "crop_size": 48, "refused": True}),
    ("vit", {"image_processor_type": "DINOv3ViTImageProcessorFast"}),
    ("dinov3_vit", {"image_processor_type": "DINOv3ViTImageProcessorFast", "crop_size": None, "do_center_crop": None,
                    "data_format": "channels_first", "default_to_square": True, "device": None,
                    "do_convert_rgb": None, "do_normalize": True, "do_rescale": True, "do_resize": True, **IMAGENET,
                    "input_data_format": None, "resample": 2, "rescale_factor": 0.00392156862745098,
                    "return_tensors": None, "size": {"height": 64, "width": 64}}),
    ("siglip2", {"do_convert_rgb": None, "do_normalize": True, "do_rescale": True, "do_resize": True,
                 "image_mean": [0.5] * 3, "image_processor_type": "Siglip2ImageProcessorFast", "image_std": [0.5] * 3,
                 "max_num_patches": 256, "patch_size": 16, "processor_class": "Siglip2Processor", "resample": 2,
                 "rescale_factor": 0.00392156862745098}),
    ("siglip2", {}),
    ("siglip2_vision_model", {}),
    ("levit", {"image_processor_type": "LevitImageProcessor", "refused": True}),
]


# timm's config.json: keys that are laid over pretrained_cfg, and over the file.
TIMM_FILE = {"architecture": "vit_base_patch16_224", "num_classes": 0}
TIMM_SIZE = {"input_size": [3, 48, 48]}
TIMM_OVERLAYS = [
    *({**TIMM_SIZE, **overlay} for overlay in (
        {},
        {"input_size": [3, 48, 60]},
        *({"input_size": size, "crop_mode": mode} for mode in ("center", "squash", "border", "", None)
          for size in ([3, 48, 48], [3, 48, 60], [3, 60, 48])),
        *({"crop_pct": part} for part in (0.9, 0.95, 1, 1.0, 1.1, 0, None)),
        {"crop_pct": "0.9"},
        {"crop_pct": -1},
        *({"interpolation": name} for name in (
            "nearest", "bilinear", "bicubic", "box", "hamming", "lanczos", "", None, "random", "lanczos3")),
        {"interpolation": 3},
        {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]},
        {"mean": [0, 0, 0], "std": [1, 1, 1]},
        {"mean": [0.25], "std": [0.75]},
        {"mean": None, "std": None},
        {"mean": [0.25], "crop_mode": "border"},
        {"mean": [0.5, 0.5]},
        {"mean": [0.5, 0.5, 0.5, 0.5]},
        {"mean": 0.5},
        {"mean": ["0.5", 0.5, 0.5]},
        {"std": [0.5, 0, 0.5], "refused": True},
        {"mean": [1.5, 0.5, 0.5], "crop_mode": "border", "refused": True},
        {"crop_mode": "other", "refused": True},
        {"in_chans": 1},
        {"img_size": 60},
        {"test_input_size": [3, 60, 60], "test_crop_pct": 1.0},
        {"num_classes": 0, "fixed_input_size": True, "pool_size": None, "first_conv": "patch_embed.proj"},
        {"input_size": [1, 48, 48], "refused": True},
        {"input_size": [48, 48]},
        {"input_size": 48},
        {"input_size": [3, 48, 48.5], "refused": True},
        {"input_size": [3, 48, "48"]},
        {"input_size": [3, 0, 48]},
        {"input_size": None, "refused": True},
    )),
    {"crop_pct": 0.9},
    {"img_size": 60},
    {"img_size": "60"},
    {"img_size": [60, 60]},
    {"in_chans": 3},
    {"in_chans": 3, "img_size": 60},
    {"in_chans": 1, "mean": [0.5], "std": [0.5], "refused": True},
    {"chans": 1, "mean": [0.5], "std": [0.5], "refused": True},
    {"in_chans": 4, "refused": True},
    {},
]
TIMM_FILES = [
    {"pretrained_cfg": None},
    {"pretrained_cfg": TIMM_SIZE, "image_processor_type": "TimmWrapperImageProcessor"},
    {"pretrained_cfg": TIMM_SIZE, "image_processor_type": "ViTImageProcessor", "refused": True},
    {"pretrained_cfg": TIMM_SIZE, "feature_extractor_type": "ViTFeatureExtractor", "refused": True},
    {"pretrained_cfg": TIMM_SIZE, "num_classes": 0, "global_pool": "token", "size": 60, "do_resize": False},
]


def configurations():
    """(model_type, configuration, whether it is refused on purpose)."""
    overlaid = [
        ("vit", {"image_processor_type": f"{name}ImageProcessor", **overlay})
        for name, overlay in itertools.product(CLASSES, OVERLAYS)
    ]
    patches = [("siglip2", {"image_processor_type": "Siglip2ImageProcessor", **overlay}) for overlay in PATCHES]
    by_model_type = [
        (model_type, {"size": 48})
        for model_type in ("vit", "deit", "beit", "dinov2", "clip", "siglip", "swin", "ijepa", "vit_msn",
                           "vit_mae", "data2vec-vision", "mlcd", "dinov3_vit", "convnext", "resnet")
    ]
    timm = [("timm_wrapper", {**TIMM_FILE, **file}) for file in TIMM_FILES]
    for overlay in TIMM_OVERLAYS:
        overlay = dict(overlay)
        refused = {"refused": True} if overlay.pop("refused", False) else {}
        timm.append(("timm_wrapper", {**TIMM_FILE, "pretrained_cfg": overlay, **refused}))
    for model_type, configuration in overlaid + patches + FILES + by_model_type + timm:
        configuration = dict(configuration)
        yield model_type, configuration, configuration.pop("refused", False)


def channels(value):
    return [value] * 3 if isinstance(value, (int, float)) else list(value)


def resolved_timm(processor):
    resize, crop, _, _ = processor.val_transforms.transforms
    sides = ("height", "width")
    if isinstance(resize, ResizeKeepRatio):
        size = {"fit" if resize.longest == 1.0 else "cover": dict(zip(sides, resize.size))}
    elif isinstance(resize.size, int):
        size = {"shortest_edge": resize.size}
    else:
        size = dict(zip(sides, resize.size))
    settings = {"type": type(processor).__name__, "size": size, "crop_size": list(crop.size), "rescale_factor": 1 / 255,
                "resample": int(pil_modes_mapping[resize.interpolation]), "crop_rule": "torchvision"}
    if isinstance(crop, CenterCropOrPad):
        settings["padding"] = crop.fill
    return settings | {f"image_{name}": channels(list(processor.data_config[name])) for name in ("mean", "std")}


def resolved(processor):
    """The settings of a processor, in the words of PreprocessSpec; a step that is off is left out."""
    if isinstance(processor, transformers.TimmWrapperImageProcessor):
        return resolved_timm(processor)
    name = type(processor).__name__
    settings = {"type": name.removesuffix("Pil")}
    if processor.do_resize:
        counts = "Siglip2" in name
        settings["size"] = ({key: getattr(processor, key) for key in ("patch_size", "max_num_patches")} if counts
                            else dict(processor.size))
        settings["resample"] = int(processor.resample)
    if processor.do_center_crop:
        settings["crop_size"] = [processor.crop_size.height, processor.crop_size.width]
    if processor.do_resize and "ConvNext" in name:
        edge = processor.size.shortest_edge
        if edge < 384:  # resize and crop in one
            settings["size"] = {"shortest_edge": int(edge / processor.crop_pct)}
            settings["crop_size"] = [edge, edge]
        else:
            settings["size"] = {"height": edge, "width": edge}
    if processor.do_rescale and "DINOv3" in name:
        settings["rescale_first"] = True
    if processor.do_rescale:
        settings["rescale_factor"] = processor.rescale_factor
    if processor.do_normalize:
        settings["image_mean"] = channels(processor.image_mean)
        settings["image_std"] = channels(processor.image_std)
    return settings


def reference(folder, backend):
    """The resolved settings, or the text of the error."""
    color, white = (10, 20, 30), (255, 255, 255)
    picture = PIL.Image.new("RGB", (70, 50), color)
    transparent = picture.copy()
    transparent.info["transparency"] = color
    try:
        processor = AutoImageProcessor.from_pretrained(folder, backend=backend)
        plain, seen, on_white = (processor([image], return_tensors="pt")["pixel_values"]
                                 for image in (picture, transparent, PIL.Image.new("RGB", (70, 50), white)))
        assert torch.equal(seen, plain) or torch.equal(seen, on_white)
        converted = {"convert_rgb": True} if torch.equal(seen, on_white) else {}
        return {"settings": {**resolved(processor), **converted}}
    except Exception as error:  # whatever the class raises: it cannot be used
        return {"error": f"{type(error).__name__}: {error}"[:200]}


def cases():
    for model_type, configuration, refused in configurations():
        text = json.dumps(configuration)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder)
            (path / "config.json").write_text(json.dumps({"model_type": model_type}))
            (path / file_of(configuration)).write_text(text)
            for backend in BACKENDS:
                yield {"model_type": model_type, "backend": backend, "configuration": text,
                       "refused": refused, **reference(folder, backend)}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    transformers.logging.set_verbosity_error()
    out = {
        "cases": {f"{i:04}": case for i, case in enumerate(cases())},
        "class_of_model_type": {
            model_type: classes["torchvision"]
            for model_type, classes in IMAGE_PROCESSOR_MAPPING_NAMES.items()
            if "torchvision" in classes
        },
    }
    (pathlib.Path(sys.argv[1]) / "processors.json").write_text(json.dumps(out, indent=1))
    print(f"processors.json: {len(out['cases'])} cases")


if __name__ == "__main__":
    main()
