#!/usr/bin/env python3
"""Compile a Hugging Face image model with AOTInductor: model.pt2, for pixembed-server --format=aotinductor.

usage: export_aotinductor.py MODEL_DIR [OUT_DIR] [--march=LEVEL]      OUT_DIR: MODEL_DIR by default

LEVEL: x86-64-v3   AVX2 and FMA: every server of the last ten years (the default)
       x86-64-v4   AVX-512 as well: faster where there is it, refused where there is not

Writes OUT_DIR/model.pt2, and the configuration beside it. Needs g++, Python's headers, transformers, and
the version of torch that the server is built with: it refuses packages of another one. A module of your
own is compiled by export() of this file.
"""

import argparse
import ctypes
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Callable

import torch
from encoder_module import ExportError, check_same, export_model

# Bits of a vector register at each level.
MARCH = {"x86-64-v3": 256, "x86-64-v4": 512}
DEFAULT_MARCH = "x86-64-v3"

# Inductor compiles for the very CPU that it runs on. This compiler does so for a named level, so that the
# package says what it needs: the last word on -march, and nothing beyond it.
COMPILER = """#!/bin/sh
for word do
  shift
  case $word in -march=*|-mavx*|-mamx*|-mfma|-mf16c) ;; *) set -- "$@" "$word" ;; esac
done
exec {compiler} -march={march} "$@"
"""


def export(module: torch.nn.Module, pixels: torch.Tensor, path: pathlib.Path, class_token: bool,
           march: str = DEFAULT_MARCH) -> None:
    """Compiles `module` for any batch of images of the size of `pixels` [N >= 2, 3, H, W]; writes `path`."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        raise ExportError("no g++ on the PATH: AOTInductor compiles with it")
    if MARCH[march] == 512 and not torch.cpu._is_avx512_supported():
        raise ExportError(f"this CPU has no AVX-512, so that a package for {march} cannot be checked here")
    _, _, height, width = pixels.shape
    # What the server compares before it loads the code; it refuses a package without these.
    metadata = {
        "pixembed_torch": torch.__version__.split("+")[0],
        "pixembed_march": march,
        "pixembed_input": f"{height}x{width}",
        "pixembed_class_token": str(int(class_token)),
    }
    with tempfile.TemporaryDirectory() as cache:
        wrapper = pathlib.Path(cache) / "g++"
        wrapper.write_text(COMPILER.format(compiler=compiler, march=march))
        wrapper.chmod(0o755)
        # A cache of its own: the shared one remembers what another compiler could do.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        options = {
            "cpp.cxx": (None, str(wrapper)),
            "cpp.simdlen": MARCH[march],
            "cpp.vec_isa_ok": True,  # or it tries by linking LibTorch
            "cpp.dynamic_threads": True,  # as many as the caller says, not as this machine has
            "aot_inductor.link_libtorch": False,  # the server's own is there
            "aot_inductor.metadata": metadata,
        }
        with torch.no_grad():
            batch = torch.export.Dim("batch", min=1)
            program = torch.export.export(module, (pixels[:2],), dynamic_shapes=({0: batch},))
            torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=options)
            compiled = load(path)
            for count in (1, len(pixels)):
                check_same(module(pixels[:count]), compiled(pixels[:count]), count)


def load(path: pathlib.Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """The package, run as the server runs it: on the LibTorch that the process has."""
    ctypes.CDLL(str(pathlib.Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"), mode=ctypes.RTLD_GLOBAL)
    return torch._inductor.aoti_load_package(str(path))


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path, nargs="?")
    parser.add_argument("--march", choices=MARCH, default=DEFAULT_MARCH)
    arguments = parser.parse_args()
    source, out = arguments.source, arguments.out or arguments.source
    export_model("export_aotinductor", source, out, "model.pt2",
                 lambda encoder, pixels, path: export(encoder, pixels, path, encoder.has_class_token(), arguments.march))


if __name__ == "__main__":
    main()
