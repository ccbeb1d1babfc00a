#!/usr/bin/env python3
"""Makes the pictures of the preprocessing benchmarks: JPEGs as cameras and web sites have them.

usage: make_pictures.py OUT_DIR [WIDTHxHEIGHT...]     PIXEMBED_PHOTOS: the sample photos

Two photos brought to 640x480 and 1280x960, with a little grain, quality 90, 4:2:0. The same files
are timed by preprocess_benchmark and by reference_preprocess.py. Other sizes are of the second photo.
"""

import os
import pathlib
import sys

import numpy as np
import PIL.Image

PICTURES = {"640x480": "china.jpg", "1280x960": "hubble_deep_field.jpg"}


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
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
