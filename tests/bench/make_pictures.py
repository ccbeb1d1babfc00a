#!/usr/bin/env python3
"""Makes the pictures of the preprocessing benchmarks: JPEGs as cameras and web sites have them.

usage: make_pictures.py OUT_DIR [WIDTHxHEIGHT...]     PIXEMBED_PHOTOS: the sample photos
       make_pictures.py --bitmaps OUT_DIR

Two photos brought to 640x480 and 1280x960, with a little grain, quality 90, 4:2:0. The same files
are timed by preprocess_benchmark and by reference_preprocess.py. Other sizes are of the second photo.

--bitmaps: two pictures of 8x8 pixels that take next to nothing to decode, so that carrying their bytes is what is
measured: 246B.bmp, and 100kB.bmp, in which the pixels lie at the end of 100,000 bytes.
"""

import os
import pathlib
import struct
import sys

import numpy as np
import PIL.Image

PICTURES = {"640x480": "china.jpg", "1280x960": "hubble_deep_field.jpg"}


# Bytes of the file; the pixels are its last ones.
BITMAPS = {"246B.bmp": 246, "100kB.bmp": 100_000}
BITMAP_SIDE = 8


def bitmap(size: int) -> bytes:
    """BITMAPINFOHEADER, 24 bits, uncompressed."""
    pixels = np.random.default_rng(3).integers(0, 256, 3 * BITMAP_SIDE**2, dtype=np.uint8).tobytes()
    start = size - len(pixels)
    header = struct.pack("<2sIHHI", b"BM", size, 0, 0, start)
    header += struct.pack("<IiiHHIIiiII", 40, BITMAP_SIDE, BITMAP_SIDE, 1, 24, 0, len(pixels), 2835, 2835, 0, 0)
    return header.ljust(start, b"\0") + pixels


def write_bitmaps(out: pathlib.Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, size in BITMAPS.items():
        (out / name).write_bytes(bitmap(size))


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if sys.argv[1] == "--bitmaps":
        write_bitmaps(pathlib.Path(sys.argv[2]))
        return
    pictures = {size: PICTURES.get(size, PICTURES["1280x960"]) for size in sys.argv[2:] or PICTURES}
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    for size, photo in pictures.items():
        width, height = (int(side) for side in size.split("x"))
        picture = PIL.Image.open(pathlib.Path(os.environ["PIXEMBED_PHOTOS"]) / photo).convert("RGB")
        pixels = np.array(picture.resize((width, height), PIL.Image.Resampling.LANCZOS))
        grain = pixels + rng.normal(0, 2, pixels.shape)
        path = out / f"{size}.jpg"
        PIL.Image.fromarray(np.clip(grain, 0, 255).astype(np.uint8)).save(path, quality=90, subsampling="4:2:0")
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
