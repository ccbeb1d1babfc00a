#!/usr/bin/env python3
"""Fetch a Go toolchain as the Go module proxies hold it, check it and unpack it.

usage: fetch_go.py VERSION SHA256 DIRECTORY PROXIES

VERSION    as in go1.26.8
SHA256     of the module's zip file
DIRECTORY  becomes the GOROOT; replaced in one step
PROXIES    as Go's GOPROXY: addresses, asked in turn, with commas or bars between them
"""

import hashlib
import io
import pathlib
import re
import sys
import urllib.error
import urllib.request
import zipfile

from replace_directory import replace_directory

# What "go mod download" does after unpacking, by the place in the GOROOT.
PROGRAMS = re.compile(r"(bin|pkg/tool/[^/]+)/[^/]+")
RENAMED = "_go.mod"  # a module's zip may hold no module of its own


def fetch(version: str, proxies: str) -> bytes:
    problems = []
    for proxy in re.split(r"[,|]", proxies):
        if proxy.strip() in ("", "direct", "off"):
            continue
        address = f"{proxy.strip().rstrip('/')}/golang.org/toolchain/@v/v0.0.1-{version}.linux-amd64.zip"
        try:
            with urllib.request.urlopen(address, timeout=300) as answer:
                return bytes(answer.read())
        except (OSError, urllib.error.URLError) as error:
            problems.append(f"{address}: {error}")
    raise OSError("; ".join(problems) or f"no proxy among {proxies!r}")


def unpack(archive: zipfile.ZipFile, folder: pathlib.Path) -> None:
    for entry in archive.infolist():
        place = entry.filename.split("/", 2)[2]  # behind golang.org/toolchain@VERSION
        target = folder / place
        if not target.resolve().is_relative_to(folder.resolve()):
            raise OSError(f"{entry.filename} leads out of the archive")
        if target.name == RENAMED:
            target = target.with_name("go.mod")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(archive.read(entry))
        if PROGRAMS.fullmatch(place):
            target.chmod(0o755)


def main() -> None:
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    version, sha256, directory, proxies = sys.argv[1:]
    try:
        data = fetch(version, proxies)
        if (found := hashlib.sha256(data).hexdigest()) != sha256:
            raise OSError(f"{version} has the SHA-256 {found}, not {sha256}")
        with replace_directory(pathlib.Path(directory)) as folder, zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpack(archive, folder)
    except (OSError, zipfile.BadZipFile) as error:
        sys.exit(f"fetch_go: {error}")


if __name__ == "__main__":
    main()
