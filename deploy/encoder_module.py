"""A Hugging Face image model as a module of one tensor in, one tensor out: what the export scripts export."""

import contextlib
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator

import numpy
import PIL.Image
import torch
from transformers import AutoImageProcessor, AutoModel

# What the server reads beside the model's own file.
CONFIGURATION = ("config.json", "preprocessor_config.json", "processor_config.json")
# Against the module as it was before the export; on values of magnitude 1 to 10.
TOLERANCE = 1e-4


class ExportError(Exception):
    """The model cannot be exported, or does not come out as it went in."""


class Encoder(torch.nn.Module):
    """pixel_values [N, 3, H, W] -> the last hidden state [N, tokens, hidden]."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values=pixel_values).last_hidden_state

    def has_class_token(self) -> bool:
        """Whether the first token is a class token, by the name that every family gives its weight."""
        names = (name.rsplit(".", 1)[-1] for name, _ in self.model.named_parameters())
        return any(name in ("cls_token", "class_embedding") for name in names)


def load_encoder(directory: pathlib.Path) -> tuple[Encoder, torch.Tensor]:
    """The encoder of a directory, and pixels [5, 3, H, W] of noise as its processor makes them."""
    try:
        processor = AutoImageProcessor.from_pretrained(directory)
        model = AutoModel.from_pretrained(directory, dtype=torch.float32).eval()
    except (OSError, ValueError) as error:
        raise ExportError(f"{directory} is no model that transformers loads: {error}") from error
    noise = numpy.random.default_rng(0).integers(0, 256, (5, 300, 400, 3), numpy.uint8)
    pixels = processor([PIL.Image.fromarray(image) for image in noise], return_tensors="pt")["pixel_values"]
    if pixels.ndim != 4:
        raise ExportError(f"{type(processor).__name__} makes patches of images of many sizes; a program takes "
                          "images [N, 3, H, W] of one size. Serve the safetensors")
    # Of two towers, the one that sees.
    return Encoder(getattr(model, "vision_model", model)).eval().requires_grad_(False), pixels


@contextlib.contextmanager
def new_file(target: pathlib.Path) -> Iterator[pathlib.Path]:
    """A path to write to, which takes the place of `target` when the block ends well."""
    workspace = pathlib.Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield workspace / target.name
        (workspace / target.name).replace(target)
    finally:
        shutil.rmtree(workspace)


def copy_configuration(source: pathlib.Path, target: pathlib.Path) -> None:
    """Makes `target` a model directory that lacks its model only. Does nothing where they are one."""
    target.mkdir(parents=True, exist_ok=True)
    if source.resolve() == target.resolve():
        return
    for name in CONFIGURATION:
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)


def export_model(script: str, source: pathlib.Path, out: pathlib.Path, name: str,
                 export: Callable[[Encoder, torch.Tensor, pathlib.Path], None]) -> None:
    """Writes the model of `source` to `out` as a file of this name, by `export`, the configuration beside it.

    Exits with what is wrong, in the name of the script.
    """
    try:
        encoder, pixels = load_encoder(source)
        copy_configuration(source, out)
        with new_file(out / name) as path:
            export(encoder, pixels, path)
    except ExportError as error:
        sys.exit(f"{script}: {error}")
    except OSError as error:
        sys.exit(f"{script}: cannot write {out}: {error}")
    print(f"{out / name}: {(out / name).stat().st_size / 1e6:.0f} MB", flush=True)


def check_same(expected: torch.Tensor, found: torch.Tensor, batch: int) -> None:
    if expected.shape != found.shape:
        raise ExportError(f"a batch of {batch} gives {list(found.shape)}, not {list(expected.shape)}")
    difference = (expected - found).abs().max().item()
    if not difference <= TOLERANCE:
        raise ExportError(f"a batch of {batch} differs by {difference:.1e} from the module that was "
                          f"exported; at most {TOLERANCE:.0e} is allowed")
