#!/usr/bin/env python3
"""The drawing of the house, executed: which room may include what, and client/go import. Fails on any other arrow.

usage: layering_test.py SOURCE_DIR
"""

import pathlib
import re
import sys

# Room -> rooms whose public header it may include (error is everybody's).
ROOMS = {
    "src/error": set(),
    "src/digest": set(),
    "src/image": {"src/digest"},
    "src/checkpoint": {"src/image"},
    "src/batching": set(),
    "src/model": {"src/checkpoint", "src/digest", "src/image"},
    "src/engine": {"src/image", "src/batching", "src/model"},
    "src/verify": {"src/digest", "src/checkpoint", "src/image", "src/model"},
    "src/command_line": set(),
    "src/launch": {"src/command_line", "src/engine", "src/image", "src/model", "src/verify"},
    "api": {"src/engine", "src/image", "src/model", "proto"},
    "server": {"api", "src/digest", "src/engine", "src/command_line", "src/image", "src/launch", "src/model", "proto"},
    "embedded": {"api", "src/command_line", "src/engine", "src/launch", "src/model", "proto"},
    "client/cpp": {"proto"},
}
# In src/; in api/, which is all translation, every header is public.
PUBLIC_HEADER = {room: f"{room}/{pathlib.Path(room).name}.h" for room in ROOMS if room.startswith("src/")}

# Third-party headers that belong to one world: pattern -> the only places that may include them.
WORLDS = {
    r"(torch|ATen|c10|caffe2)/": {"src/model"},
    # at::parallel_for, in a header, is serial without -fopenmp: InParallel is not.
    r"ATen/Parallel": {"src/model/thread_team", "src/model/runtime"},
    r"(grpc|grpcpp|grpc\+\+)/|.*\.grpc\.pb\.h$": {"server", "client/cpp"},
    r"google/(protobuf|rpc)/": {"api", "embedded", "server", "client/cpp"},
    r"(jpeglib|jerror|png|gif_lib|tiff|tiffio|zlib)\.h|(webp|avif)/": {"src/image"},
    r"nlohmann/": {"src/checkpoint", "server", "client/cpp"},
    r"microhttpd\.h": {"server"},
    r"prometheus/": {"server/metrics"},
    r"gnutls/": {"server/http_"},  # libmicrohttpd's TLS
    r"spdlog/": {"server"},
    r"openssl/": {"src/digest", "server/certificates"},  # SHA-256, and X.509: protocols stay in gRPC
}
# Tests include what they mirror and what they compare with; only the torch world stays apart.
TEST_WORLDS = {r"(torch|ATen|c10|caffe2)/": {"tests/model", "tests/golden", "tests/bench"}}

# What client/go may import: itself, the protocol, and outside the standard library (whose paths have no
# dot before the first slash) these.
GO_WORLD = re.compile(r"pixembed(/v1)?$|(google\.golang\.org|golang\.org/x/sync|go\.uber\.org/goleak)(/|$)|[a-z]+(/|$)")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def room_of(path):
    return next((room for room in ROOMS if path.startswith(room + "/")), None)


def worlds_violated(place, header, worlds):
    return [p for p, homes in worlds.items() if re.match(p, header) and not any(
        place.startswith(home) for home in homes)]


def problems_of(path, text):
    """Every include of `path` that the drawing does not allow."""
    room = room_of(path)
    for style, header in INCLUDE.findall(text):
        if path.startswith("tests/"):
            if worlds_violated(path, header, TEST_WORLDS):
                yield f"{path}: {header} belongs to another world"
            continue
        if worlds_violated(path, header, WORLDS):
            yield f"{path}: {header} belongs to {' and '.join(sorted(next(h for p, h in WORLDS.items() if re.match(p, header))))}"
        if style == "<" or header.endswith((".pb.h",)):
            if header.endswith(".pb.h") and "proto" not in ROOMS[room]:
                yield f"{path}: {header}: {room} may not know the protocol"
            continue
        target = room_of(header)
        if target is None:
            if not re.match(r"(absl|grpcpp|grpc|gtest|gmock|benchmark|nlohmann|google|spdlog)/", header) \
                    and "/" in header:
                yield f"{path}: {header}: not a path from the repository root"
        elif target != room:
            if target not in ROOMS[room] | {"src/error"}:
                yield f"{path}: {header}: no arrow from {room} to {target}"
            elif header != PUBLIC_HEADER.get(target, header):
                yield f"{path}: {header}: only {PUBLIC_HEADER[target]} is public"


def go_problems_of(path, text):
    """Every import of a Go file that the drawing does not allow."""
    imports = re.findall(r'^import (?:\w+ )?"([^"]+)"', text, re.MULTILINE)
    for block in re.findall(r"^import \(\n(.*?)^\)", text, re.MULTILINE | re.DOTALL):
        imports += re.findall(r'"([^"]+)"', block)
    for imported in imports:
        if not GO_WORLD.match(imported):
            yield f"{path}: {imported} belongs to another world"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    root = pathlib.Path(sys.argv[1])
    files = [f for top in ("src", "api", "embedded", "server", "client/cpp", "tests") for f in sorted((root / top).rglob("*"))
             if f.suffix in {".h", ".cc"} and f.parent != root / "client/cpp/example"]  # another project's
    problems = [p for f in files for p in problems_of(str(f.relative_to(root)), f.read_text())]
    go_files = sorted((root / "client/go").rglob("*.go"))
    problems += [p for f in go_files for p in go_problems_of(f.relative_to(root), f.read_text())]
    folders = {d.name for d in root.rglob("*") if d.is_dir() and not {".git", "build"} & set(d.parts)}
    problems += [f"a folder is called {name}: say whose noun it is" for name in
                 sorted(folders & {"utils", "util", "common", "helpers", "misc"})]
    print("\n".join(problems) or f"{len(files) + len(go_files)} files: every include follows the drawing")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
