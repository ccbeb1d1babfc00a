#!/usr/bin/env python3
"""Models as programs: what deploy/export_*.py make of tiny models, of a small encoder and of DINOv2-S.

usage: make_programs.py OUT_DIR         PIXEMBED_MODEL: the default model; PIXEMBED_PHOTOS: photos

OUT_DIR/embeddings/CASE/ is as make_embeddings.py makes it, with model.pt or model.pt2 in the place of
model.safetensors. Expected is what the module gives that was exported, run eagerly. The test is
embeddings_golden_test.cc.
"""

import collections.abc
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import typing

import torch
import transformers as hf
from make_embeddings import VIT, Case, exact, expected_of_photos, fill, make_tiny, pictures
from safetensors.torch import save_file
from transformers import AutoImageProcessor

DEPLOY = pathlib.Path(__file__).parents[2] / "deploy"
sys.path.insert(0, str(DEPLOY))
import export_aotinductor  # noqa: E402

TINY = Case(lambda: hf.ViTModel(hf.ViTConfig(**VIT)), hf.ViTImageProcessor(**exact(32)))
MODEL_FILES = {"torchscript": "model.pt", "aotinductor": "model.pt2"}


class ConvolutionalEncoder(torch.nn.Module):
    """The half of an autoencoder that one keeps: [N, 3, 32, 32] -> [N, 24]. No transformer, and in
    training mode until it is told otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, stride=2, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
            torch.nn.Conv2d(8, 16, 3, stride=2, padding=1), torch.nn.Dropout(0.5), torch.nn.GELU())
        self.head = torch.nn.Linear(16 * 8 * 8, 24)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(pixel_values).flatten(1))


class NamedTuple(typing.NamedTuple):
    pooler_output: torch.Tensor
    last_hidden_state: torch.Tensor


@torch.jit.script
class Output:
    def __init__(self, last_hidden_state: torch.Tensor) -> None:
        self.last_hidden_state = last_hidden_state


class Returning(torch.nn.Module):
    def __init__(self, encoder: torch.nn.Module) -> None:
        super().__init__()
        self.encoder = encoder


class ReturningDict(Returning):
    def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"pooler_output": pixel_values, "last_hidden_state": self.encoder(pixel_values)}


class ReturningNamedTuple(Returning):
    def forward(self, pixel_values: torch.Tensor) -> NamedTuple:
        return NamedTuple(pixel_values, self.encoder(pixel_values))


class ReturningObject(Returning):
    def forward(self, pixel_values: torch.Tensor) -> Output:
        return Output(self.encoder(pixel_values))


SCRIPTED = {"dict": ReturningDict, "named_tuple": ReturningNamedTuple, "object": ReturningObject}


def run_script(name: str, source: pathlib.Path, out: pathlib.Path) -> None:
    subprocess.run([sys.executable, DEPLOY / f"export_{name}.py", source, out], check=True)


def make_tiny_programs(out: pathlib.Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "vit"
        make_tiny("vit", TINY, pathlib.Path(folder))
        for name in MODEL_FILES:
            directory = out / f"{name}_vit"
            run_script(name, source, directory)
            shutil.copyfile(source / "expected.safetensors", directory / "expected.safetensors")


def make_encoder(directory: pathlib.Path, encoder: torch.nn.Module,
                 export: collections.abc.Callable[[torch.Tensor, pathlib.Path], None]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    hf.ViTImageProcessor(**exact(32)).save_pretrained(directory)
    (directory / "config.json").write_text(json.dumps({"model_type": "convolutional-autoencoder"}))
    processor = AutoImageProcessor.from_pretrained(directory)
    levels = processor(pictures(), do_rescale=False, do_normalize=False, return_tensors="pt")["pixel_values"]
    pixels = processor(pictures(), return_tensors="pt")["pixel_values"]
    export(pixels, directory)
    with torch.no_grad():
        vectors = encoder.eval()(pixels)
    save_file({
        "images": levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous(),
        "pixel_values": pixels,
        "last_hidden_state": vectors[:, None].clone(),
        "mean": vectors,
        "max": vectors.clone(),
    }, directory / "expected.safetensors")


def make_encoders(out: pathlib.Path) -> None:
    encoder = ConvolutionalEncoder()
    fill(encoder)
    for name, returning in SCRIPTED.items():
        # In training mode: whoever loads it has to leave that.
        make_encoder(out / f"torchscript_{name}", encoder, lambda _, directory, returning=returning:
                     torch.jit.script(returning(encoder).train()).save(directory / "model.pt"))
    make_encoder(out / "aotinductor_encoder", encoder, lambda pixels, directory:
                 export_aotinductor.export(encoder.eval(), pixels, directory / "model.pt2", class_token=False))


def make_real(out: pathlib.Path) -> None:
    model = pathlib.Path(os.environ["PIXEMBED_MODEL"])
    tensors = expected_of_photos(model)
    for name in MODEL_FILES:
        directory = out / f"dinov2-s14-{name}"
        run_script(name, model, directory)
        (directory / "directory").write_text(str(directory.resolve()))
        save_file(tensors, directory / "expected.safetensors")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = pathlib.Path(sys.argv[1]) / "embeddings"
    hf.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    make_tiny_programs(out)
    make_encoders(out)
    make_real(out)


if __name__ == "__main__":
    main()
