#!/usr/bin/env python3
"""Export a Hugging Face image model as TorchScript: model.pt, for pixembed-server --format=torchscript.

usage: export_torchscript.py MODEL_DIR [OUT_DIR]      OUT_DIR: MODEL_DIR by default

Writes OUT_DIR/model.pt, and the configuration beside it. Needs torch and transformers.

A module of your own (the encoder of an autoencoder, of a GAN's inversion, ...) needs no script:
    torch.jit.script(module.eval()).save("OUT_DIR/model.pt")     # or torch.jit.trace(module, pixels)
It takes float32 [N, 3, H, W] and returns float32 [N, tokens, dimension] or [N, dimension]. Beside it
belong config.json, {"model_type": "a name"}, and preprocessor_config.json.
"""

import pathlib
import sys

import torch
from encoder_module import check_same, export_model

# A file of the archive: whether the first token is a class token, "1" or "0".
CLASS_TOKEN_FILE = "pixembed_class_token"


def export(module: torch.nn.Module, pixels: torch.Tensor, path: pathlib.Path, class_token: bool) -> None:
    """Traces `module` on `pixels` [N >= 2, 3, H, W] and writes it to `path`."""
    with torch.no_grad():
        # Not checked by trace itself, which compares more tightly than sums in another order agree.
        traced = torch.jit.trace(module, pixels[:2], check_trace=False)
        torch.jit.save(traced, path, _extra_files={CLASS_TOKEN_FILE: str(int(class_token))})
        loaded = torch.jit.load(path)
        for batch in (1, len(pixels)):
            check_same(module(pixels[:batch]), loaded(pixels[:batch]), batch)


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    source, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[-1])
    export_model("export_torchscript", source, out, "model.pt",
                 lambda encoder, pixels, path: export(encoder, pixels, path, encoder.has_class_token()))


if __name__ == "__main__":
    main()
