#!/usr/bin/env python3
"""What the real processors and a model make of files with one transparent colour, and of their like.

usage: make_transparency.py OUT_DIR     PIXEMBED_PHOTOS: the sample photos; what make_embeddings.py wrote is there

OUT_DIR/transparency.safetensors has for each file NAME "encoded.NAME", [bytes] uint8, and for each case of
OUT_DIR/transparency.json (a file, a preprocessor_config.json, a backend) "values.CASE", the pixel_values of
Image.open(file).convert("RGB") [3, H, W] float32: absent where Pillow or the processor raises. The test is
transparency_golden_test.cc. OUT_DIR/embeddings/transparent/ has what the tiny DINOv2 makes of some of the files,
as make_embeddings.py writes it of photos for embeddings_golden_test.cc.
"""

import io
import itertools
import json
import pathlib
import sys
import warnings
import zlib

import numpy as np
import PIL.Image
import torch
import transformers
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors
from transformers import AutoModel

import make_decode
import make_embeddings
from image_files import *  # a vocabulary of writers
from make_decode import drawn, photo, saved
from processors import processor_of

BOTH = ("torchvision", "pil")
# (class, sizes that keep the golden file small, backends)
CLASSES = [
    ("ViT", {"size": 24}, BOTH),
    ("DeiT", {"size": 28, "crop_size": 24}, BOTH),
    ("Beit", {"size": 24}, BOTH),
    ("Bit", {"size": 28, "crop_size": 24}, BOTH),
    ("CLIP", {"size": 24, "crop_size": 24}, BOTH),
    ("Siglip", {"size": {"height": 24, "width": 24}}, BOTH),
    ("ConvNext", {"size": 24}, BOTH),
    ("DINOv3ViT", {"size": 24}, ("torchvision",)),
]
OVERLAYS = ({}, {"do_convert_rgb": True}, {"do_convert_rgb": False})
EMBEDDED = ("png.P.index", "png.RGB.8", "gif.photo", "png.P.alphas")


def png(rng, depth, kind, trns, values=3, interlace=0, width=31, height=22, before=b"", after=b""):
    """Of few values, so that a transparent colour is met."""
    bands = PNG_CHANNELS[kind]
    if depth < 8 or interlace:
        rows = png_rows(rng, width, height, depth, kind, [0, 1, 2], interlace)
    else:
        levels = rng.integers(0, values, (height, width * bands)).astype(">u2" if depth == 16 else "u1")
        rows = b"".join(b"\0" + row.tobytes() for row in levels)
    colors = png_chunk(b"PLTE", rng.bytes(24)) if kind == 3 else b""
    chunk = png_chunk(b"tRNS", trns) if trns is not None else b""
    return png_file(png_header(width, height, depth, kind, interlace=interlace), zlib.compress(rows), colors + chunk + before,
                    after)


def files(rng):
    for level in (0, 1):
        yield f"png.1.{level}", png(rng, 1, 0, bytes([0, level]))
    yield "png.L.2", png(rng, 2, 0, b"\0\x55")
    yield "png.L.4", png(rng, 4, 0, b"\0\x11", interlace=1)
    yield "png.L.8", png(rng, 8, 0, b"\0\2")
    yield "png.L.8.high", png(rng, 8, 0, b"\1\2")
    yield "png.L.8.late", png(rng, 8, 0, None, after=png_chunk(b"tRNS", b"\0\1"))
    yield "png.I16", png(rng, 16, 0, b"\0\2")
    yield "png.I16.zero", png(rng, 16, 0, b"\0\0")
    yield "png.I16.high", png(rng, 16, 0, b"\1\0")
    yield "png.RGB.8", png(rng, 8, 2, b"\0\1\0\0\0\1", values=2)
    yield "png.RGB.8.high", png(rng, 8, 2, b"\1\1\2\0\3\1", values=2)
    yield "png.RGB.16", png(rng, 16, 2, b"\1\0\1\0\1\0", values=2)
    yield "png.RGB.none", png(rng, 8, 2, None, values=2)
    yield "png.P.index", png(rng, 8, 3, b"\xff\xff\0", values=6)
    yield "png.P.index.4", png(rng, 4, 3, b"\xff\0\xff")
    yield "png.P.index.outside", png(rng, 8, 3, b"\xff" * 8 + b"\0", values=12)
    yield "png.P.alphas", png(rng, 8, 3, b"\xff\x80\0", values=6)
    yield "png.LA", png(rng, 8, 4, None)
    yield "png.RGBA", png(rng, 8, 6, None)
    text = png_chunk(b"tEXt", b"transparency\0yes")
    yield "png.RGB.text", png(rng, 8, 2, b"\0\1" * 3, before=text)
    yield "png.LA.text", png(rng, 8, 4, None, before=text)
    yield "png.RGB.text.before", png(rng, 8, 2, None, values=2, before=text + png_chunk(b"tRNS", b"\0\1" * 3))
    gray = bytes(v for i in range(256) for v in (i, i, i))
    few = gif_frame(4, 3, 20, 16, sub_blocks(lzw(rng.integers(0, 9, 320, dtype=np.uint8).tobytes(), 8)))
    colors = rng.bytes(48)
    for what, screen in (("colors", colors), ("gray", gray), ("none", None)):
        for transparent in (None, 3, 200):
            yield f"gif.{what}.{transparent}", gif_screen(28, 21, screen) + gif_control(transparent) + few + b";"
    local = gif_frame(0, 0, 20, 16, sub_blocks(lzw(rng.integers(0, 9, 320, dtype=np.uint8).tobytes(), 8)), palette=gray)
    yield "gif.gray_on_colors", gif_screen(20, 16, bytes([2, 2, 2]) * 4 + colors[12:]) + gif_control(2) + local + b";"
    holed = photo(48, 33, "astronaut.png")
    holed.putalpha(drawn(48, 33).convert("1"))
    yield "gif.photo", saved(holed, "GIF")
    for kind in ("PNG", "WEBP", "TIFF", "BMP", "AVIF"):
        yield f"alpha.{kind.lower()}", saved(holed, kind)


def opened(data):
    return PIL.Image.open(io.BytesIO(data)).convert("RGB")


def pixel_values(processor, data):
    """Nothing where it raises."""
    try:
        return processor([opened(data)], return_tensors="pt")["pixel_values"][0].float().contiguous().numpy()
    except (TypeError, ValueError):
        return None


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    out = pathlib.Path(sys.argv[1])
    encoded = dict(files(np.random.default_rng(31)))
    tensors = {f"encoded.{name}": np.frombuffer(data, np.uint8) for name, data in encoded.items()}
    cases = {}
    for (name, sizes, backends), overlay in itertools.product(CLASSES, OVERLAYS):
        configuration = {"image_processor_type": f"{name}ImageProcessor", **sizes, **overlay}
        for backend in backends:
            processor = processor_of(configuration, backend)
            for file, data in encoded.items():
                case = f"{len(cases):04}"
                cases[case] = {"file": file, "backend": backend, "configuration": json.dumps(configuration)}
                values = pixel_values(processor, data)
                if values is not None:
                    tensors[f"values.{case}"] = values
    save_file(tensors, out / "transparency.safetensors")
    (out / "transparency.json").write_text(json.dumps(cases, indent=1))

    folder, model = out / "embeddings" / "transparent", out / "embeddings" / "dinov2"
    folder.mkdir(exist_ok=True)
    vectors = make_embeddings.expected(model, AutoModel, [opened(encoded[name]) for name in EMBEDDED], cls=True)
    files_of = {f"encoded.{i}": torch.tensor(list(encoded[name]), dtype=torch.uint8) for i, name in enumerate(EMBEDDED)}
    save_tensors({**vectors, **files_of}, folder / "expected.safetensors")
    print(f"transparency.safetensors: {len(encoded)} files, {len(cases)} cases, "
          f"{sum(f'values.{case}' not in tensors for case in cases)} refusals")


if __name__ == "__main__":
    main()
