#!/usr/bin/env python3
"""The bare forward of another runtime: pixels in, mean-pooled vectors out, float32 unless its name says otherwise.

usage: forward.py BACKEND MODEL_DIR CACHE_DIR [--batches 1,8] [--threads 2] [--seconds 8] [--photos FOLDER]

BACKEND: torch, torch-compile, onnxruntime, openvino, onnxruntime-int8. What is exported for them is kept in CACHE_DIR.
Prints a line of JSON for each batch size, with how far its vectors are from those of torch on the same pixels: noise,
or, with --photos, the PNG and JPEG files of a folder, one at a time, as the model's own processor gives them.
"""

import argparse
import json
import os
import pathlib
import resource
import time
from collections.abc import Callable

os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import numpy as np
import torch
import transformers

Forward = Callable[[np.ndarray], np.ndarray]
WARM_UP = 3


class Pooled(torch.nn.Module):
    def __init__(self, directory: pathlib.Path, side: int | None = None) -> None:
        super().__init__()
        transformers.utils.logging.disable_progress_bar()
        self.model = transformers.AutoModel.from_pretrained(directory, dtype=torch.float32).eval()
        self.side = side or self.model.config.image_size

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values=pixel_values).last_hidden_state.mean(1)


def example(side: int, batch: int) -> torch.Tensor:
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(0))


def photos(model: pathlib.Path, folder: pathlib.Path) -> np.ndarray:
    import PIL.Image

    processor = transformers.AutoImageProcessor.from_pretrained(model)
    files = sorted(path for path in folder.iterdir() if path.suffix in (".png", ".jpg"))
    images = [PIL.Image.open(path).convert("RGB") for path in files]
    return processor(images, return_tensors="pt")["pixel_values"].numpy()


def one_by_one(forward: Forward, pixels: np.ndarray) -> np.ndarray:
    return np.concatenate([forward(pixels[i : i + 1]) for i in range(len(pixels))]).astype(np.float64)


def eager(model: Pooled) -> Forward:
    def forward(pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(pixels)).numpy()

    return forward


def compiled(model: Pooled) -> Forward:
    import torch._inductor.config as inductor

    inductor.freezing = True  # weights are constants, packed for the kernels
    fast = torch.compile(model, dynamic=False)

    def forward(pixels: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return fast(torch.from_numpy(pixels)).numpy()

    return forward


def onnx_file(model: Pooled, cache: pathlib.Path) -> pathlib.Path:
    path = cache / "model.onnx"
    if not path.exists():
        part = cache / "part.onnx"
        torch.onnx.export(
            model,
            (example(model.side, 2),),
            part,
            dynamo=True,
            external_data=False,
            input_names=["pixel_values"],
            output_names=["vectors"],
            dynamic_shapes={"pixel_values": {0: torch.export.Dim("batch")}},
            verbose=False,
        )
        part.replace(path)
    return path


def onnxruntime_session(path: pathlib.Path, threads: int) -> Forward:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {"pixel_values": pixels})[0]


def quantized(model: Pooled, cache: pathlib.Path) -> pathlib.Path:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = cache / "model-int8.onnx"
    if not path.exists():
        part = cache / "part-int8.onnx"
        quantize_dynamic(
            onnx_file(model, cache),
            part,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=["MatMul", "Gemm"],
        )
        part.replace(path)
    return path


def openvino_model(path: pathlib.Path, threads: int) -> Forward:
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    model = openvino.Core().compile_model(path, "CPU", settings)
    return lambda pixels: model(pixels)[0].copy()


def make(backend: str, model: Pooled, cache: pathlib.Path, threads: int) -> Forward:
    if backend == "torch":
        return eager(model)
    if backend == "torch-compile":
        return compiled(model)
    if backend == "onnxruntime":
        return onnxruntime_session(onnx_file(model, cache), threads)
    if backend == "onnxruntime-int8":
        return onnxruntime_session(quantized(model, cache), threads)
    if backend == "openvino":
        return openvino_model(onnx_file(model, cache), threads)
    raise SystemExit(f"forward.py: there is no backend {backend}")


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure(forward: Forward, pixels: np.ndarray, seconds: float) -> dict[str, float]:
    for _ in range(WARM_UP):
        forward(pixels)
    times = []
    cpu, begin = cpu_seconds(), time.perf_counter()
    while time.perf_counter() < begin + seconds:
        start = time.perf_counter()
        forward(pixels)
        times.append(time.perf_counter() - start)
    images = len(times) * len(pixels)
    return {
        "images_per_second": images / sum(times),
        "images_per_cpu_second": images / (cpu_seconds() - cpu),
        "p50_ms": float(np.median(times)) * 1e3,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backend")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("cache", type=pathlib.Path)
    parser.add_argument("--batches", default="1,8")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--photos", type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)
    torch.set_num_interop_threads(1)
    real = photos(arguments.model, arguments.photos) if arguments.photos else None
    model = Pooled(arguments.model, None if real is None else real.shape[-1])
    forward = make(arguments.backend, model, arguments.cache, arguments.threads)
    for batch in map(int, arguments.batches.split(",")):
        pixels = example(model.side, batch).numpy()
        if real is None:
            ours, expected = forward(pixels).astype(np.float64), eager(model)(pixels).astype(np.float64)
        else:
            ours, expected = one_by_one(forward, real), one_by_one(eager(model), real)
        cosines = (ours * expected).sum(1) / (np.linalg.norm(ours, axis=1) * np.linalg.norm(expected, axis=1))
        row: dict[str, object] = {"backend": arguments.backend, "batch": batch}
        row |= measure(forward, pixels, arguments.seconds)
        row |= {
            "largest_difference": float(np.abs(ours - expected).max()),
            "smallest_cosine": float(cosines.min()),
            "mean_cosine": float(cosines.mean()),
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
