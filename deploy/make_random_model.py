#!/usr/bin/env python3
"""Make a Hugging Face directory with random weights, for benchmarks: real sizes, meaningless vectors.

usage: make_random_model.py ARCHITECTURE OUT_DIR [SEED]

ARCHITECTURE: vit-b16   ViT-B/16, 224 pixels: hidden 768, 12 layers, 12 heads (86 million parameters)
              vit-ti16  ViT-Ti/16, 224 pixels, the sizes of DeiT-Ti: hidden 192, 12 layers, 3 heads
SEED          a number, 0 by default; the same seed gives the same bytes
Needs numpy and safetensors.
"""

import dataclasses
import pathlib
import sys

import numpy
from model_directory import write_model_directory


@dataclasses.dataclass(frozen=True)
class Architecture:
    hidden: int
    layers: int
    heads: int
    patch: int = 16
    image: int = 224

    @property
    def mlp(self) -> int:
        return 4 * self.hidden


ARCHITECTURES = {
    "vit-b16": Architecture(hidden=768, layers=12, heads=12),
    "vit-ti16": Architecture(hidden=192, layers=12, heads=3),
}

# As transformers initialises a ViT.
INITIALIZER_RANGE = 0.02


def config(size: Architecture) -> dict[str, object]:
    return {
        "architectures": ["ViTModel"],
        "model_type": "vit",
        "hidden_act": "gelu",
        "hidden_size": size.hidden,
        "image_size": size.image,
        "intermediate_size": size.mlp,
        "layer_norm_eps": 1e-12,
        "num_attention_heads": size.heads,
        "num_channels": 3,
        "num_hidden_layers": size.layers,
        "patch_size": size.patch,
        "qkv_bias": True,
        "dtype": "float32",
    }


def preprocessor(size: Architecture) -> dict[str, object]:
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": size.image, "width": size.image},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }


def random_tensors(size: Architecture, seed: int) -> dict[str, numpy.ndarray]:
    """Every tensor of a ViTModel under its name on the Hub."""
    random = numpy.random.default_rng(seed)
    tensors: dict[str, numpy.ndarray] = {}

    def normal(name: str, *shape: int) -> None:
        tensors[name] = random.standard_normal(shape, dtype=numpy.float32) * numpy.float32(INITIALIZER_RANGE)

    def linear(name: str, outputs: int, *inputs: int) -> None:
        normal(f"{name}.weight", outputs, *inputs)
        normal(f"{name}.bias", outputs)

    def norm(name: str) -> None:
        tensors[f"{name}.weight"] = numpy.ones(size.hidden, numpy.float32)
        tensors[f"{name}.bias"] = numpy.zeros(size.hidden, numpy.float32)

    normal("embeddings.cls_token", 1, 1, size.hidden)
    normal("embeddings.position_embeddings", 1, 1 + (size.image // size.patch) ** 2, size.hidden)
    linear("embeddings.patch_embeddings.projection", size.hidden, 3, size.patch, size.patch)
    for layer in range(size.layers):
        prefix = f"encoder.layer.{layer}"
        norm(f"{prefix}.layernorm_before")
        for role in ("query", "key", "value"):
            linear(f"{prefix}.attention.attention.{role}", size.hidden, size.hidden)
        linear(f"{prefix}.attention.output.dense", size.hidden, size.hidden)
        norm(f"{prefix}.layernorm_after")
        linear(f"{prefix}.intermediate.dense", size.mlp, size.hidden)
        linear(f"{prefix}.output.dense", size.hidden, size.mlp)
    norm("layernorm")
    linear("pooler.dense", size.hidden, size.hidden)
    return tensors


def main() -> None:
    if len(sys.argv) not in (3, 4) or sys.argv[1] not in ARCHITECTURES:
        sys.exit(__doc__)
    size, out = ARCHITECTURES[sys.argv[1]], pathlib.Path(sys.argv[2])
    seed = sys.argv[3] if len(sys.argv) == 4 else "0"
    if not seed.isdecimal():
        sys.exit(f"make_random_model: SEED must be a whole number, not {seed!r}")
    try:
        write_model_directory(out, config(size), preprocessor(size), random_tensors(size, int(seed)))
    except OSError as error:
        sys.exit(f"make_random_model: cannot write {out}: {error}")


if __name__ == "__main__":
    main()
