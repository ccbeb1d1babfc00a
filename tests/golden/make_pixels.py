#!/usr/bin/env python3
"""What the real image processors make of pictures: OUT_DIR/pixels.safetensors and pixels.json.

usage: make_pixels.py OUT_DIR     PIXEMBED_PHOTOS: the sample photos; PIXEMBED_SEED: of what is drawn

pixels.json: GROUP -> NUMBER -> {configuration, picture, crc32}; pixels.safetensors: the pictures
(picture.NAME, [height, width, 3] uint8), for each case the pixels between crop and rescale
(levels.GROUP.NUMBER, [3, height, width] uint8; not where those are float32 or patches), for some the pixel_values
(values.GROUP.NUMBER, float32); crc32 is of all their bytes. `drawn` holds random resizes by Pillow itself, one a row: seed
of the noise, kind, height, width, new height, new width, filter, crc32 of the resized bytes; `patches` what sizes become
whole patches: height, width, patch_size, max_num_patches, new height, new width.
The test is pixels_golden_test.cc.
"""

import json
import os
import pathlib
import sys
import zlib

import numpy as np
import PIL.Image
import torch
import transformers
from safetensors.numpy import save_file
from transformers.models.siglip2.image_processing_siglip2 import get_image_size_for_max_num_patches

from processors import levels_of, processor_of

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}

# The processors of the promise, as their checkpoints configure them.
PROCESSORS = {
    "ViT": {"image_processor_type": "ViTImageProcessor"},
    "DeiT": {"image_processor_type": "DeiTImageProcessor", **IMAGENET},
    "CLIP": {"image_processor_type": "CLIPImageProcessor"},
    "DINOv2": {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 256},
               "crop_size": {"height": 224, "width": 224}, **IMAGENET},
    "SigLIP": {"image_processor_type": "SiglipImageProcessor"},
    "BEiT": {"image_processor_type": "BeitImageProcessor", "do_reduce_labels": True},
    "ConvNeXt": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224}, "crop_pct": 0.95},
}
# Rescales before it resizes, in float32: there are no levels. The pil backend has no such class.
FLOAT = {"image_processor_type": "DINOv3ViTImageProcessor"}

# timm's: its configuration is a config.json, and it has Pillow's images only.
def timm(**settings):
    return {"architecture": "vit_base_patch16_224", "num_classes": 0, "pretrained_cfg": settings}


TIMM = timm(input_size=[3, 224, 224], interpolation="bicubic", crop_pct=0.9, mean=[0.5] * 3, std=[0.5] * 3)

# (height, width): one pixel, thin ones, enlarging, both sides of every rule of the pass order.
SIZES = [
    (1, 1), (1, 2), (2, 1), (3, 2), (5, 5), (1, 300), (300, 1), (2, 700), (700, 2), (1500, 4), (8, 1000),
    (17, 19), (30, 40), (37, 100), (100, 37), (64, 64), (112, 112), (150, 151), (200, 200),
    (223, 225), (225, 223), (224, 224), (224, 500), (500, 224), (255, 257), (256, 256), (256, 400), (299, 299),
    (331, 222), (333, 500), (401, 600), (448, 448), (448, 900), (900, 448), (894, 446), (511, 513), (518, 518),
    (480, 640), (640, 480), (50, 800), (800, 230), (1200, 90), (2000, 300), (300, 2000), (683, 1024), (960, 1280),
]

PHOTOS = ["china.jpg", "flower.jpg", "rocket.jpg", "astronaut.png", "chelsea.png", "coffee.png",
          "hubble_deep_field.jpg", "camera.png"]

# (a picture of this size, a configuration): each processor has its own defaults to vary.
VARIANTS = [
    # Crops larger than the picture: even and odd padding, of one axis or of both.
    *(((h, w), {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 40},
                "crop_size": {"height": ch, "width": cw}})
      for h, w in ((60, 60), (50, 91), (120, 47)) for ch, cw in ((57, 58), (58, 57), (41, 41), (30, 120), (39, 40))),
    *(((h, w), {"image_processor_type": "CLIPImageProcessor", "do_resize": False, "crop_size": 32})
      for h, w in ((1, 1), (32, 32), (31, 33), (33, 31), (20, 64), (65, 21))),
    # Sizes of every form.
    *(((h, w), {"image_processor_type": "ViTImageProcessor", "size": size})
      for h, w in ((90, 61), (61, 90), (48, 48), (10, 200), (333, 100))
      for size in (48, {"height": 48, "width": 96}, {"height": 61, "width": 61}, {"shortest_edge": 48},
                   {"shortest_edge": 48, "longest_edge": 64}, {"shortest_edge": 48, "longest_edge": 50},
                   {"shortest_edge": 61, "longest_edge": 1000})),
    # Steps switched off, and numbers of their own.
    *(((70, 50), {"image_processor_type": "DeiTImageProcessor", "size": 64, "crop_size": 48, **overlay})
      for overlay in ({"do_resize": False}, {"do_center_crop": False}, {"do_rescale": False},
                      {"do_normalize": False}, {"do_rescale": False, "do_normalize": False},
                      {"rescale_factor": 1 / 127.5}, {"rescale_factor": 0.0039}, {"rescale_factor": 1 / 256},
                      {"rescale_factor": 0.0039, "do_normalize": False},
                      {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.9, 0.7, 0.11]},
                      {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.9, 0.7, 0.11], "do_rescale": False})),
    # Crops that are a part of what is resized, and none.
    *(((h, w), {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": edge}, "crop_pct": part})
      for h, w in ((90, 61), (61, 90), (48, 300)) for edge, part in ((48, 0.875), (61, 0.9), (40, 1.0), (48, 1.1), (384, 0.9))),
    # Every level in every channel, through nothing but rescale and normalize.
    *(("levels", {**PROCESSORS[name], "do_resize": False, "do_center_crop": False}) for name in PROCESSORS),
]
FLOAT_VARIANTS = [
    *(((h, w), {**FLOAT, "size": {"height": th, "width": tw}, "resample": resample})
      for h, w in ((90, 61), (61, 90), (48, 40), (10, 200), (333, 100), (1, 1), (5, 700), (400, 37))
      for th, tw in ((48, 40), (64, 96), (7, 5)) for resample in (2, 3)),
    *(((h, w), {**FLOAT, "size": {"shortest_edge": 48}, "do_center_crop": True, "crop_size": {"height": ch, "width": cw}})
      for h, w in ((60, 90), (91, 50), (120, 347)) for ch, cw in ((40, 40), (48, 61), (57, 33), (70, 71))),
    *(((70, 50), {**FLOAT, "size": 48, **overlay})
      for overlay in ({"do_resize": False}, {"do_normalize": False}, {"rescale_factor": 1 / 127.5},
                      {"do_resize": False, "do_normalize": False}, {"rescale_factor": 0.0039},
                      {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.9, 0.7, 0.11]})),
    ("levels", {**FLOAT, "do_resize": False}),
]
TIMM_VARIANTS = [
    # Every crop, of odd and even remainders, and padding of one axis or of both.
    *(((h, w), timm(input_size=[3, th, tw], crop_mode=mode, crop_pct=part))
      for h, w in ((90, 61), (61, 90), (48, 40), (333, 100), (3, 200), (1, 1)) for th, tw in ((48, 48), (40, 57))
      for mode in ("center", "squash", "border") for part in (0.875, 0.95, 1.0, 1.1)),
    *(((h, w), timm(input_size=[3, 45, 44], crop_pct=part))
      for h, w in ((60, 61), (47, 48), (100, 37)) for part in (0.8, 0.85, 0.9, 0.93, 0.96)),
    # Filters and numbers.
    *(((h, w), timm(input_size=[3, 48, 48], interpolation=name))
      for h, w in ((90, 61), (30, 41)) for name in ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")),
    *(((70, 50), timm(input_size=[3, 64, 48], crop_mode=mode, crop_pct=1.0, **numbers))
      for mode in ("center", "border")
      for numbers in ({"mean": [0.1, 0.2, 0.3], "std": [0.9, 0.7, 0.11]}, {"mean": [0, 0, 0], "std": [1, 1, 1]},
                      {"mean": [0.25], "std": [0.75]})),
    ("levels", timm(input_size=[3, 16, 16], crop_pct=1.0)),
    ("levels", timm(input_size=[3, 16, 16], crop_pct=1.0, mean=[0.5], std=[0.5])),
]
# Keeps about the aspect ratio, and gives patches: there are no planes of levels.
NAFLEX = {"image_processor_type": "Siglip2ImageProcessor"}
NAFLEX_VARIANTS = [
    *(((h, w), {**NAFLEX, "patch_size": patch, "max_num_patches": patches, "resample": resample})
      for h, w in ((90, 61), (61, 90), (10, 200), (1, 500), (500, 1), (1, 1), (37, 400))
      for patch, patches in ((8, 20), (14, 9), (1, 50), (40, 1), (32, 7)) for resample in (2, 3)),
    *(((70, 50), {**NAFLEX, "patch_size": 8, "max_num_patches": 30, **overlay})
      for overlay in ({"do_rescale": False}, {"do_normalize": False}, {"do_rescale": False, "do_normalize": False},
                      {"rescale_factor": 1 / 127.5}, {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.9, 0.7, 0.11]})),
]
FILTERS = {"torchvision": [2, 3], "pil": [0, 1, 2, 3, 4, 5]}


def filter_variants(backend):
    for resample in FILTERS[backend]:
        for size in ((61, 90), (200, 31), (24, 24), (300, 80), (5, 3)):
            yield size, {"image_processor_type": "ViTImageProcessor", "size": {"height": 48, "width": 40},
                         "resample": resample}


def drawn_picture(rng, height, width):
    """Noise, black and white, waves and stripes, or something like a photo."""
    kind = rng.integers(0, 4)
    noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    y, x = np.mgrid[0:height, 0:width]
    if kind == 0:
        return noise
    if kind == 1:
        return np.where(noise < 128, 0, 255).astype(np.uint8)
    if kind == 2:
        waves = [127 + 120 * np.sin(x / 7.0 + y / 11.0), 255 * ((x // 5 + y // 3) % 2), (x * y) % 256]
        return np.stack(waves, -1).astype(np.uint8)
    waves = [127 + 120 * np.sin(x / 17.0 + y / 31.0), 127 + 90 * np.cos(x / 13.0 - y / 7.0), (x + 2 * y) % 256]
    return np.clip(np.stack(waves, -1) + rng.normal(0, 12, (height, width, 3)), 0, 255).astype(np.uint8)


class Pictures:
    """Every picture once, by name."""

    def __init__(self, rng):
        self.rng = rng
        self.arrays = {"levels": np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(16, 16, 3)}

    def named(self, what):
        """The name of a picture: itself, a photo's file name, or a size to be drawn."""
        if isinstance(what, tuple):
            name = f"{what[0]}x{what[1]}"
            if name not in self.arrays:
                self.arrays[name] = drawn_picture(self.rng, *what)
            return name
        if what not in self.arrays:
            photo = PIL.Image.open(pathlib.Path(os.environ["PIXEMBED_PHOTOS"]) / what)
            self.arrays[what] = np.array(photo.convert("RGB"))
        return what


def run(processor, picture):
    return processor([PIL.Image.fromarray(picture)], return_tensors="pt")["pixel_values"][0].contiguous().numpy()


def add_group(group, backend, cases, keep_values, pictures, tensors):
    """Runs one processor after the other; `keep_values` says for which the floats are kept whole."""
    described = {}
    for i, (what, configuration) in enumerate(cases):
        name = pictures.named(what)
        picture = pictures.arrays[name]
        processor = processor_of(configuration, backend)
        values = run(processor, picture).astype(np.float32)
        number = str(i)
        if configuration.get("image_processor_type") not in (
                FLOAT["image_processor_type"], NAFLEX["image_processor_type"]):
            levels = levels_of(processor, [PIL.Image.fromarray(picture)])[0].contiguous().numpy()
            assert levels.shape == values.shape
            tensors[f"levels.{group}.{number}"] = levels
        if keep_values(i):
            tensors[f"values.{group}.{number}"] = values
        described[number] = {"configuration": json.dumps(configuration), "backend": backend, "picture": name,
                             "crc32": zlib.crc32(values.tobytes())}
    return described


def mersenne_bytes(seed, count):
    """The low bytes of std::mt19937(seed)."""
    generator = np.random.MT19937()
    generator._legacy_seeding(seed)
    return (generator.random_raw(count) & 0xFF).astype(np.uint8)


def drawn_resizes(rng, count):
    for _ in range(count):
        height, width = (int(n) for n in rng.integers(1, 400, 2))
        new_height, new_width = (int(n) for n in rng.integers(1, 300, 2))
        shape = rng.integers(0, 6)
        if shape == 0:
            height = int(rng.integers(1, 8))
        elif shape == 1:
            width = int(rng.integers(1, 8))
        elif shape == 2:
            new_height = height
        elif shape == 3:
            new_width = width
        seed, kind = int(rng.integers(0, 2**32)), int(rng.integers(0, 2))
        noise = mersenne_bytes(seed, height * width * 3).reshape(height, width, 3)
        picture = PIL.Image.fromarray(noise if kind == 0 else np.where(noise < 128, 0, 255).astype(np.uint8))
        for resample in FILTERS["pil"]:
            resized = np.asarray(picture.resize((new_width, new_height), resample))
            yield [seed, kind, height, width, new_height, new_width, resample, zlib.crc32(resized.tobytes())]


def patch_sizes(count):
    rng = np.random.default_rng(7)
    extremes = [(1, 1), (1, 65_535), (65_535, 1), (65_535, 65_535), (8_000, 8_000), (1, 1_000), (3, 2)]
    drawn = (rng.integers(1, (2_000, 2_000) if i % 2 else (40, 9_000)) for i in range(count))
    for height, width in (*extremes, *drawn):
        patch, patches = int(rng.integers(1, 40)), int(rng.choice([1, 2, 9, 100, 256, 576, 1_000, 4_096]))
        size = get_image_size_for_max_num_patches(int(height), int(width), patch, patches)
        yield [height, width, patch, patches, *size]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    seed = int(os.environ.get("PIXEMBED_SEED", "20"))
    rng = np.random.default_rng(seed)
    pictures, tensors, groups = Pictures(rng), {}, {}
    for backend in FILTERS:
        for name, configuration in PROCESSORS.items():
            cases = [(what, configuration) for what in SIZES + PHOTOS]
            groups[f"{name}-{backend}"] = add_group(
                f"{name}-{backend}", backend, cases, lambda i: i % 16 == 0, pictures, tensors)
        cases = VARIANTS + list(filter_variants(backend))
        groups[f"variants-{backend}"] = add_group(
            f"variants-{backend}", backend, cases, lambda i: True, pictures, tensors)
    cases = [(what, FLOAT) for what in SIZES + PHOTOS]
    groups["DINOv3-torchvision"] = add_group(
        "DINOv3-torchvision", "torchvision", cases, lambda i: i % 16 == 0, pictures, tensors)
    groups["variants-float"] = add_group(
        "variants-float", "torchvision", FLOAT_VARIANTS, lambda i: True, pictures, tensors)
    groups["timm-pil"] = add_group(
        "timm-pil", "pil", [(what, TIMM) for what in SIZES + PHOTOS], lambda i: i % 16 == 0, pictures, tensors)
    groups["variants-timm"] = add_group("variants-timm", "pil", TIMM_VARIANTS, lambda i: True, pictures, tensors)
    for backend, filters in FILTERS.items():
        cases = [(what, {**NAFLEX, "resample": filters[i % len(filters)]}) for i, what in enumerate(SIZES + PHOTOS)]
        groups[f"NaFlex-{backend}"] = add_group(
            f"NaFlex-{backend}", backend, cases, lambda i: i % 16 == 0, pictures, tensors)
        groups[f"variants-NaFlex-{backend}"] = add_group(
            f"variants-NaFlex-{backend}", backend, NAFLEX_VARIANTS, lambda i: True, pictures, tensors)
    tensors["patches"] = np.array(list(patch_sizes(3_000)), dtype=np.int64)
    tensors["drawn"] = np.array(list(drawn_resizes(rng, 400)), dtype=np.int64)
    tensors |= {f"picture.{name}": array for name, array in pictures.arrays.items()}
    out = pathlib.Path(sys.argv[1])
    save_file(tensors, out / "pixels.safetensors")
    (out / "pixels.json").write_text(json.dumps({"seed": seed, "groups": groups}, indent=1))
    cases = sum(len(group) for group in groups.values())
    megabytes = sum(tensor.nbytes for tensor in tensors.values()) / 1e6
    print(f"pixels.safetensors: seed {seed}, {cases} cases, {len(tensors['drawn'])} resizes, {megabytes:.0f} MB")


if __name__ == "__main__":
    main()
