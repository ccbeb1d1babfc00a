#!/usr/bin/env python3
"""Seeds for the decoders' fuzz targets: image files, sorted by format.

usage: extract_seeds.py OUT_DIR SOURCE...    a SOURCE: a folder of files, or a golden file with
                                             "NAME.encoded" tensors (tests/golden/make_decode.py)

Writes OUT_DIR/FORMAT/HASH for every file of at most 64 KiB whose first bytes are those of a format.
"""

import hashlib
import pathlib
import sys

MAX_BYTES = 1 << 16
SIGNATURES = {"jpeg": [b"\xff\xd8\xff"], "png": [b"\x89PNG"], "webp": [b"RIFF"], "gif": [b"GIF8"], "bmp": [b"BM"],
              "tiff": [b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"MM\0+", b"II+\0"]}


def format_of(data):
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis", b"mif1", b"msf1"):
        return "avif"
    return next((kind for kind, starts in SIGNATURES.items() if data.startswith(tuple(starts))), None)


def files_of(source):
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.is_file() and path.stat().st_size <= MAX_BYTES:
                yield path.read_bytes()
        return
    from safetensors import safe_open

    with safe_open(source, "numpy") as golden:
        for name in golden.keys():
            if name.endswith(".encoded"):
                yield golden.get_tensor(name).tobytes()


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    out, counts = pathlib.Path(sys.argv[1]), dict.fromkeys([*SIGNATURES, "avif"], 0)
    for kind in counts:
        (out / kind).mkdir(parents=True, exist_ok=True)
    for source in map(pathlib.Path, sys.argv[2:]):
        for data in files_of(source):
            kind = format_of(data)
            if kind is not None and len(data) <= MAX_BYTES:
                (out / kind / hashlib.sha256(data).hexdigest()[:20]).write_bytes(data)
                counts[kind] += 1
    print(counts, flush=True)


if __name__ == "__main__":
    main()
