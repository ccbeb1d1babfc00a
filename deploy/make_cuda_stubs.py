#!/usr/bin/env python3
"""Make empty CUDA libraries, so that the Python torch of a CUDA wheel imports on a host without CUDA.

usage: make_cuda_stubs.py TORCH_LIB_DIR OUT_DIR

The wheel's libraries are linked to some fifteen CUDA libraries (gigabytes) that a CPU never calls. Each
becomes a stub with the same soname, the version nodes that torch asks for, and every symbol that torch
does not find elsewhere; a stubbed call answers "no device". Only the reference for tests uses them: the
server never does, and they must never lie beside a real CUDA installation.
Needs gcc and readelf.
"""

import collections
import pathlib
import re
import subprocess
import sys

SYSTEM = re.compile(r"^(libpthread|libm|libdl|libc|librt|libgcc_s|libstdc\+\+|ld-linux-x86-64|libgomp)\.so")
# Symbols without a version node are given to a library by their prefix; the first match wins.
OWNERS = [
    ("libcudart", r"^(cuda|__cuda)"), ("libcupti", r"^cupti"), ("libcusparseLt", r"^cusparseLt"),
    ("libcusparse", r"^cusparse"), ("libcufft", r"^cufft"), ("libcufile", r"^cuFile"),
    ("libnccl", r"^p?nccl"), ("libcurand", r"^curand"), ("libcublasLt", r"^cublasLt"),
    ("libcublas", r"^cublas"), ("libcudnn", r"^cudnn"), ("libcusolver", r"^cusolver"),
    ("libnvshmem", r"nvshmem"),
]
RETURNS_TEXT = re.compile(r"(ErrorString|ErrorName|StatusString|GetStatusName)$")
CUDA_ERROR_NO_DEVICE = 100


def readelf(flag, library):
    return subprocess.run(["readelf", "-W", flag, library], capture_output=True, text=True, check=True).stdout


def definition(symbol):
    if RETURNS_TEXT.search(symbol):
        return f'const char* {symbol}(void) {{ return "CUDA is stubbed"; }}'
    if symbol.startswith("cuda"):
        return f"int {symbol}(void) {{ return {CUDA_ERROR_NO_DEVICE}; }}"
    return f"long {symbol}(void) {{ return 1; }}"


def scan(torch_lib):
    """The missing libraries, in order; their version nodes; the symbols that nobody defines."""
    libraries = sorted(torch_lib.glob("*.so*"))
    present = {library.name for library in libraries}
    needed, nodes = {}, collections.defaultdict(set)
    undefined, defined = set(), set()
    for library in libraries:
        for name in re.findall(r"NEEDED.*\[(.*?)\]", readelf("-d", library)):
            if name not in present and not SYSTEM.match(name):
                needed[name] = True
        current = None
        for line in readelf("-V", library).splitlines():
            if match := re.search(r"File: (\S+)", line):
                current = match.group(1)
            if current and (match := re.search(r"Name: (\S+)\s+Flags", line)):
                nodes[current].add(match.group(1))
        for line in readelf("--dyn-syms", library).splitlines():
            fields = line.split()
            if len(fields) < 8 or not fields[0].endswith(":"):
                continue
            name, _, node = fields[7].partition("@")
            (undefined if fields[6] == "UND" else defined).add((name, node.lstrip("@")))
    names = {name for name, _ in defined}
    return list(needed), nodes, {(n, v) for n, v in undefined if n and n not in names}


def assign(needed, nodes, undefined):
    """library -> version node -> symbols."""
    owner_of_node = {node: library for library, found in nodes.items() for node in found}
    symbols = collections.defaultdict(lambda: collections.defaultdict(set))
    for name, node in undefined:
        library = owner_of_node.get(node) if node else None
        if library is None:
            prefix = next((p for p, pattern in OWNERS if re.search(pattern, name)), None)
            library = next((n for n in needed if prefix and re.match(rf"{prefix}[._]", n)), None)
        if library in needed:
            symbols[library][node].add(name)
    return symbols


def build(library, nodes, symbols, out):
    versions = sorted(set(nodes) | {node for node in symbols if node})
    source = out / f"{library}.c"
    source.write_text("\n".join(definition(s) for node in symbols for s in sorted(symbols[node])) + "\n")
    command = ["gcc", "-w", "-shared", "-fPIC", "-O1", f"-Wl,-soname,{library}", "-o", out / library, source]
    script = out / f"{library}.map"
    if versions:
        script.write_text("".join(
            f"{node} {{ global: {' '.join(s + ';' for s in sorted(symbols.get(node, ())))} }};\n"
            if symbols.get(node) else f"{node} {{ }};\n" for node in versions))
        command.append(f"-Wl,--version-script={script}")
    subprocess.run(command, check=True)
    source.unlink()
    script.unlink(missing_ok=True)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    torch_lib, out = map(pathlib.Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    needed, nodes, undefined = scan(torch_lib)
    symbols = assign(needed, nodes, undefined)
    for library in needed:
        build(library, nodes.get(library, ()), symbols[library], out)
    print(f"{len(needed)} stub libraries in {out}")


if __name__ == "__main__":
    main()
