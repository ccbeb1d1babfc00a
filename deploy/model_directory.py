"""Writes a model as Hugging Face lays it out: config.json, preprocessor_config.json, model.safetensors."""

import json
import pathlib
from typing import Any

import numpy
from replace_directory import replace_directory
from safetensors.numpy import save_file


def write_model_directory(
    target: pathlib.Path,
    config: dict[str, Any],
    preprocessor: dict[str, Any],
    tensors: dict[str, numpy.ndarray],
) -> None:
    """Replaces `target` in one step; a failure leaves what was there."""
    with replace_directory(target) as folder:
        for name, value in [("config.json", config), ("preprocessor_config.json", preprocessor)]:
            (folder / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
        # The format holds row-major bytes only; transformers asks for the "format" entry.
        contiguous = {name: numpy.ascontiguousarray(value) for name, value in tensors.items()}
        weights = folder / "model.safetensors"
        save_file(contiguous, weights, metadata={"format": "pt"})
        weights.chmod((folder / "config.json").stat().st_mode)  # safetensors makes it private
    size = sum(value.nbytes for value in tensors.values())
    print(f"{target}: {len(tensors)} tensors, {size / 1e6:.0f} MB", flush=True)
