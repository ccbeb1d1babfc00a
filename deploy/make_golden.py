#!/usr/bin/env python3
"""Writes pixembed_golden.safetensors beside a model: what your own transformers make of some images.

usage: make_golden.py MODEL_DIR [IMAGE...] [--backend torchvision|pil] [--output FILE]

pixembed-server compares itself with the file before it is ready (--verify), `pixembed verify MODEL_DIR`
does it on its own. This script is one file that needs nothing of pixembed: copy it to wherever your
transformers, torch, Pillow and safetensors are, and run it there. Without IMAGE it draws a small set that
covers formats and sizes.

For each image NAME the file holds
  NAME.encoded              U8 [bytes]   the file
  NAME.pixel_values_sha256  U8 [32]      SHA-256 of pixel_values, float32, row-major, little-endian: [3, H, W], or of
                                         a processor that cuts patches [patches, values], with its padding
  NAME.vector               F32 [D]      mean of last_hidden_state over the tokens, in float32
and in its metadata format = pixembed_golden, version = 1, backend, dtype = float32, pooling = mean
and the versions of transformers, torch, torchvision and pillow.
"""

import argparse
import hashlib
import importlib.metadata
import io
import os
import pathlib
import sys
import typing

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

# Towers that AutoModel would load together with a text model that the image alone cannot feed.
VISION_TOWERS = {"clip": "CLIPVisionModel", "siglip": "SiglipVisionModel", "siglip2": "Siglip2VisionModel"}
TIMM_PROCESSOR = "TimmWrapperImageProcessor"
EXIF_ORIENTATION = 0x0112


def draw(width: int, height: int, seed: int) -> Image.Image:
    """Smooth colours, hard edges and some noise, so that resampling and codecs have something to do."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = [128 + 90 * np.sin(x / random.uniform(5, 20) + random.uniform(0, 6)) * np.cos(y / random.uniform(5, 20))
              for _ in range(3)]
    pixels = np.stack(planes, axis=2) + random.normal(0, 12, (height, width, 3))
    pixels[(x // 16 + y // 16) % 5 == 0] = random.uniform(0, 255, 3)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def drawn_images() -> dict[str, bytes]:
    wide, tall, small, large = draw(301, 190, 1), draw(97, 233, 2), draw(31, 29, 3), draw(640, 480, 4)
    turned = Image.Exif()
    turned[EXIF_ORIENTATION] = 6
    clear = wide.convert("RGBA")
    clear.putalpha(draw(301, 190, 5).convert("L"))
    palette = tall.quantize(61)
    deep = np.random.default_rng(6).integers(0, 512, (50, 60), dtype=np.uint16)
    return {
        "bmp": encode(small, "BMP"),
        "gif_palette": encode(palette, "GIF"),
        "jpeg_420": encode(large, "JPEG", quality=90),
        "jpeg_444_turned": encode(wide, "JPEG", quality=95, subsampling=0, exif=turned),
        "jpeg_cmyk": encode(wide.convert("CMYK"), "JPEG", quality=85),
        "jpeg_gray_progressive": encode(tall.convert("L"), "JPEG", progressive=True),
        "png_16_bit_gray": encode(Image.fromarray(deep), "PNG"),
        "png_alpha": encode(clear, "PNG"),
        "png_one_pixel": encode(draw(1, 1, 7), "PNG"),
        "png_palette": encode(palette, "PNG"),
        "png_wide": encode(draw(700, 40, 8), "PNG"),
        "tiff_lzw": encode(tall, "TIFF", compression="tiff_lzw"),
        "webp_lossless_alpha": encode(clear.crop((0, 0, 120, 110)), "WEBP", lossless=True),
        "webp_lossy": encode(tall, "WEBP", quality=80),
    }


def given_images(paths: list[pathlib.Path]) -> dict[str, bytes]:
    images: dict[str, bytes] = {}
    for path in paths:
        if path.name in images:
            sys.exit(f"make_golden: two images are called {path.name}; rename one")
        images[path.name] = path.read_bytes()
    return images


def load_model(directory: pathlib.Path) -> torch.nn.Module:
    config = transformers.AutoConfig.from_pretrained(directory)
    cls = getattr(transformers, VISION_TOWERS.get(config.model_type, "AutoModel"))
    return cls.from_pretrained(directory, dtype=torch.float32).eval()


def backend_of(processor: typing.Any) -> str | None:
    """timm's transforms, which get Pillow's images, do not say it."""
    return "pil" if type(processor).__name__ == TIMM_PROCESSOR else getattr(processor, "backend", None)


def load_processor(directory: pathlib.Path, backend: str) -> typing.Any:
    """The processor, and a certainty that it is of that backend, or of the only one that its class has."""
    processor = transformers.AutoImageProcessor.from_pretrained(directory, backend=backend)
    actual = backend_of(processor)
    if actual not in ("torchvision", "pil"):
        sys.exit(f"make_golden: transformers {transformers.__version__} does not say which backend its processors "
                 "use; 5.0 or newer does")
    if actual != backend == "torchvision" and type(processor).__name__ != TIMM_PROCESSOR:
        sys.exit(f"make_golden: transformers gives the {actual} backend: install torchvision, or give --backend=pil")
    return processor


def golden_tensors(directory: pathlib.Path, processor: typing.Any,
                   images: dict[str, bytes]) -> dict[str, torch.Tensor]:
    model = load_model(directory)
    tensors: dict[str, torch.Tensor] = {}
    for name, data in images.items():
        inputs = processor([Image.open(io.BytesIO(data)).convert("RGB")], return_tensors="pt")
        with torch.no_grad():
            hidden = model(**inputs).last_hidden_state
        if hidden.dim() != 3 or not torch.isfinite(hidden).all():
            sys.exit(f"make_golden: last_hidden_state is {list(hidden.shape)} or not finite: no vectors to compare")
        pixels = inputs["pixel_values"][0].contiguous().numpy().astype("<f4")
        digest = hashlib.sha256(pixels.tobytes()).digest()
        tensors[f"{name}.encoded"] = torch.from_numpy(np.frombuffer(data, dtype=np.uint8).copy())
        tensors[f"{name}.pixel_values_sha256"] = torch.tensor(list(digest), dtype=torch.uint8)
        tensors[f"{name}.vector"] = hidden.mean(1)[0].contiguous()
    return tensors


def version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def main() -> None:
    parser = argparse.ArgumentParser(description="writes pixembed_golden.safetensors beside a model")
    parser.add_argument("model", type=pathlib.Path, help="Hugging Face model directory")
    parser.add_argument("images", nargs="*", type=pathlib.Path, help="your own images; default: a set that is drawn")
    parser.add_argument("--backend", choices=("torchvision", "pil"), default="torchvision")
    parser.add_argument("--output", type=pathlib.Path, help="default: MODEL/pixembed_golden.safetensors")
    arguments = parser.parse_args()
    output = arguments.output or arguments.model / "pixembed_golden.safetensors"
    images = given_images(arguments.images) if arguments.images else drawn_images()
    processor = load_processor(arguments.model, arguments.backend)
    tensors = golden_tensors(arguments.model, processor, images)
    metadata = {"format": "pixembed_golden", "version": "1", "backend": backend_of(processor), "dtype": "float32",
                "pooling": "mean", **{name: version_of(name) for name in
                                      ("transformers", "torch", "torchvision", "pillow")}}
    part = output.with_name(output.name + ".part")
    save_file(tensors, part, metadata=metadata)
    part.chmod((arguments.model / "config.json").stat().st_mode)  # safetensors makes it private
    part.replace(output)
    print(f"{output}: {len(images)} images, {output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
