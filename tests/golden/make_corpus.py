#!/usr/bin/env python3
"""What Pillow makes of the pictures of its own tests: OUT_DIR/corpus.safetensors.

usage: make_corpus.py OUT_DIR     PIXEMBED_CORPUS: Tests/images of Pillow's source distribution

For each file, named FORMAT/PATH: "NAME.encoded", its bytes, [bytes] uint8; and "NAME.rgb", the
pixels of Image.open(file).convert("RGB"), [height, width, 3] uint8, absent where Pillow refuses, and
where the format is "other". FORMAT is what Pillow takes the file for; of a file that it does not
open, what the file begins like.
The test is corpus_golden_test.cc.
"""

import contextlib
import io
import os
import pathlib
import sys
import warnings

import numpy as np
import PIL.Image
from safetensors.numpy import save_file

from image_files import silent_libraries

FORMATS = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tiff", "AVIF": "avif"}
SIGNATURES = {"jpeg": [b"\xff\xd8\xff"], "png": [b"\x89PNG\r\n\x1a\n"], "gif": [b"GIF87a", b"GIF89a"], "bmp": [b"BM"],
              "tiff": [b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"MM\0+", b"II+\0"]}
FILES = 1060  # of Pillow 13.0.0


def format_of(data):
    with contextlib.suppress(Exception), PIL.Image.open(io.BytesIO(data)) as image:
        return FORMATS.get(image.format, "other")
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis", b"mif1", b"msf1"):
        return "avif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((name for name, starts in SIGNATURES.items() if data.startswith(tuple(starts))), "other")


def decoded(data):
    """The reference. None: refused."""
    try:
        with PIL.Image.open(io.BytesIO(data)) as image:
            return np.ascontiguousarray(image.convert("RGB"))
    except Exception:  # whatever it says, it is no picture
        return None


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    warnings.simplefilter("ignore")
    folder = pathlib.Path(os.environ["PIXEMBED_CORPUS"])
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if len(paths) != FILES:
        sys.exit(f"make_corpus: {folder} has {len(paths)} files, not {FILES}: run deploy/setup.sh test")
    tensors, counts = {}, {}
    with silent_libraries():
        for path in paths:
            data = path.read_bytes()
            kind = format_of(data)
            name = f"{kind}/{path.relative_to(folder)}"
            tensors[f"{name}.encoded"] = np.frombuffer(data, np.uint8)
            rgb = decoded(data) if kind != "other" else None
            if rgb is not None:
                tensors[f"{name}.rgb"] = rgb
            files, refused = counts.get(kind, (0, 0))
            counts[kind] = (files + 1, refused + (rgb is None))
    save_file(tensors, pathlib.Path(sys.argv[1]) / "corpus.safetensors")
    print(", ".join(f"{kind}: {files} files, {refused} refused" for kind, (files, refused) in sorted(counts.items())), flush=True)


if __name__ == "__main__":
    main()
