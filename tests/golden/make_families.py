#!/usr/bin/env python3
"""What every family's real image processor makes of files of every format: OUT_DIR/families.txt.

usage: make_families.py OUT_DIR     after make_corpus.py

Lines of two kinds, tabs between. "processor", a number, the families that are published with it, the backend, the
preprocessor_config.json, or timm's config.json. "image", that number, the name of a file in corpus.safetensors, the SHA-256 of its
pixel_values, [3, H, W] float32, or [patches, values]. This is the reference from end to end:
processor([Image.open(file).convert("RGB")]). The test is families_golden_test.cc.
"""

import hashlib
import io
import json
import pathlib
import sys
import warnings

import numpy as np
import PIL.Image
import torch
import transformers
from safetensors.numpy import load_file

import make_corpus  # noqa: F401, whose files these are
from processors import processor_of

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
SQUARE = {"height": 224, "width": 224}
BIT = {"image_processor_type": "BitImageProcessor", "do_convert_rgb": True, "resample": 3, "crop_size": SQUARE}


# config.json, which holds the processor of timm's models.
def timm(**settings):
    return {"architecture": "vit_base_patch16_224", "num_classes": 0,
            "pretrained_cfg": {"input_size": [3, 224, 224], "interpolation": "bicubic", **settings}}


# Families -> the processor that their best-known checkpoints are published with.
PROCESSORS = {
    "ViT": {"image_processor_type": "ViTImageProcessor", "size": SQUARE},
    "ViT-MSN, ViT-MAE, I-JEPA": {"image_processor_type": "ViTImageProcessor", "size": SQUARE, **IMAGENET},
    "Swin, SwinV2": {"image_processor_type": "ViTImageProcessor", "size": SQUARE, "resample": 3, **IMAGENET},
    "DeiT": {"image_processor_type": "DeiTImageProcessor", "size": {"height": 256, "width": 256}, "crop_size": SQUARE,
             "resample": 3, **IMAGENET},
    "BEiT, data2vec-vision": {"image_processor_type": "BeitImageProcessor", "size": SQUARE, "do_center_crop": False},
    "DINOv2, with and without registers; Hiera": {**BIT, "size": {"shortest_edge": 256}, **IMAGENET},
    "DINOv3 ViT": {"image_processor_type": "DINOv3ViTImageProcessorFast", "size": SQUARE, "resample": 2, **IMAGENET},
    "CLIP": {"image_processor_type": "CLIPImageProcessor"},
    "MLCD": {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 336},
             "crop_size": {"height": 336, "width": 336}},
    "SigLIP": {"image_processor_type": "SiglipImageProcessor", "size": SQUARE},
    "SigLIP 2 NaFlex": {"image_processor_type": "Siglip2ImageProcessor", "patch_size": 16, "max_num_patches": 256},
    "timm's ViT": timm(crop_pct=0.9, mean=[0.5] * 3, std=[0.5] * 3),
    "timm's DINOv2": timm(input_size=[3, 518, 518], crop_pct=1.0),
    "timm's SigLIP": timm(crop_pct=0.9, crop_mode="squash", mean=[0.5] * 3, std=[0.5] * 3),
}
FILES_OF_A_FORMAT = 24
MOST_PIXELS = 1 << 20
# CIELAB, which is refused: see corpus_golden_test.cc.
EXCEPTIONS = {"tiff/hopper.Lab.tif", "tiff/lab-green.tif", "tiff/lab-red.tif", "tiff/lab.tif"}


def chosen(tensors):
    """Files that Pillow decodes, as many of each format, spread over the names."""
    formats = {}
    for key in sorted(tensors):
        name = key.removesuffix(".rgb")
        if name != key and name not in EXCEPTIONS and tensors[key].size <= 3 * MOST_PIXELS:
            formats.setdefault(name.split("/")[0], []).append(name)
    for names in formats.values():
        step = max(1, len(names) / FILES_OF_A_FORMAT)
        yield from (names[int(i * step)] for i in range(min(len(names), FILES_OF_A_FORMAT)))


def missing_backend(configuration):
    """None: the processor has both."""
    if "pretrained_cfg" in configuration:
        return "torchvision"
    return "pil" if "DINOv3" in configuration["image_processor_type"] else None


def digest(processor, image):
    """None: the reference refuses the picture."""
    try:
        values = processor([image], return_tensors="pt")["pixel_values"][0].contiguous().numpy()
    except Exception:
        return None
    return hashlib.sha256(values.astype(np.float32).tobytes()).hexdigest()


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    out = pathlib.Path(sys.argv[1])
    tensors = load_file(out / "corpus.safetensors")
    names = list(chosen(tensors))
    processors, lines = [], []
    for families, configuration in PROCESSORS.items():
        for backend in ("torchvision", "pil"):
            if backend == missing_backend(configuration):
                continue  # transformers has no such class
            processors.append(processor_of(configuration, backend))
            lines.append(f"processor\t{len(processors) - 1}\t{families}\t{backend}\t{json.dumps(configuration)}\n")
    for name in names:
        with PIL.Image.open(io.BytesIO(tensors[f"{name}.encoded"].tobytes())) as file:
            image = file.convert("RGB")
        for number, processor in enumerate(processors):
            lines.append(f"image\t{number}\t{name}\t{digest(processor, image) or 'refused'}\n")
    (out / "families.txt").write_text("".join(lines))
    print(f"families.txt: {len(processors)} processors, {len(names)} files")


if __name__ == "__main__":
    main()
