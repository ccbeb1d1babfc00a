#!/usr/bin/env python3
"""Times the reference on the pictures of make_pictures.py: Pillow's decoder and the real processor.

usage: reference_preprocess.py PICTURES_DIR [SECONDS]

One thread. For each picture and backend, milliseconds an image: of Image.open(...).convert("RGB"),
of the processor (bicubic, shortest edge 256, crop 224: DINOv2's), and of both together, the median
of the runs that SECONDS (default 2) allow. Beside preprocess_benchmark, which times the same.
"""

import io
import json
import pathlib
import statistics
import sys
import time

import PIL.Image
import torch
import transformers
from transformers import BitImageProcessor, BitImageProcessorPil

CONFIGURATION = {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224},
                 "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
PROCESSORS = {"torchvision": BitImageProcessor, "pil": BitImageProcessorPil}


def milliseconds(function, seconds):
    function()  # warm
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        function()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    seconds = float(sys.argv[2]) if len(sys.argv) == 3 else 2.0
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    results = {}
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*.jpg")):
        encoded = path.read_bytes()

        def decode(encoded=encoded):
            return PIL.Image.open(io.BytesIO(encoded)).convert("RGB")

        picture = decode()
        for backend, processor_class in PROCESSORS.items():
            processor = processor_class(**CONFIGURATION)
            results[f"{path.stem}/{backend}"] = {
                "decode": milliseconds(decode, seconds),
                "preprocess": milliseconds(lambda: processor([picture], return_tensors="pt"), seconds),
                "decode+preprocess": milliseconds(lambda: processor([decode()], return_tensors="pt"), seconds),
            }
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
