#!/usr/bin/env python3
"""What Pillow says of the images of decode.safetensors that it decodes: OUT_DIR/describe.txt.

usage: make_describe.py OUT_DIR

A line for each: name, format, mode, width, height, orientation (1 where there is none), tabs between. The format
is as this project spells it. The test is describe_golden_test.cc.
"""

import io
import pathlib
import sys
import warnings

import PIL.Image
from safetensors.numpy import load_file

ORIENTATION = 0x0112
FORMATS = {"WEBP": "WebP", "MPO": "JPEG", "DIB": "BMP"}


def orientation_of(image: PIL.Image.Image) -> int:
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # EXIF data that Pillow itself cannot read
        return 1
    return value if value in range(1, 9) else 1


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    warnings.simplefilter("ignore")
    out = pathlib.Path(sys.argv[1])
    tensors = load_file(out / "decode.safetensors")
    lines = []
    for key in sorted(tensors):
        name = key.removesuffix(".encoded")
        if name == key or f"{name}.rgb" not in tensors:
            continue
        data = tensors[key].tobytes()
        image = PIL.Image.open(io.BytesIO(data))
        kind, mode = FORMATS.get(image.format, image.format), image.mode
        orientation = orientation_of(image)
        height, width = tensors[f"{name}.rgb"].shape[:2]
        lines.append(f"{name}\t{kind}\t{mode}\t{width}\t{height}\t{orientation}\n")
    (out / "describe.txt").write_text("".join(lines))


if __name__ == "__main__":
    main()
