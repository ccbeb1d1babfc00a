#!/usr/bin/env python3
"""Runs clang-tidy over every source of the project, and remembers which were clean.

usage: clang_tidy.py CLANG_TIDY SOURCE_DIR BUILD_DIR CACHE_DIR

A file is checked again when it, a header of the project that it includes, its compile command, .clang-tidy or
the version of the program CLANG_TIDY changed. Exits 1 on any finding; the rules and the reasons for their
exceptions are in .clang-tidy.
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

TOPS = ("src", "api", "embedded", "server", "client", "tests")
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)


def without_precompiled_headers(command):
    """The command as it would be without: they are g++'s, and hide what a source forgot to include."""
    words = []
    for word in shlex.split(command):
        if word.endswith("/cmake_pch.hxx") and words[-1] == "-include":
            words.pop()
        elif word != "-Winvalid-pch":
            words.append(word)
    return shlex.join(words)


def entries(source, build):
    """What the build's compile_commands.json says of each source of the project; of one that several programs
    have, what it says first."""
    found = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = pathlib.Path(entry["file"])
        if path.is_relative_to(source) and path.relative_to(source).parts[0] in TOPS:
            found.setdefault(path, {**entry, "command": without_precompiled_headers(entry["command"])})
    return found


def digest(*parts):
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def with_headers(path, source):
    """The file and every header of the project that it includes, by itself or through others."""
    seen, todo = set(), [path]
    while todo:
        current = todo.pop()
        if current in seen or not current.exists():
            continue
        seen.add(current)
        todo += [source / header for header in INCLUDE.findall(current.read_text())]
    return sorted(seen)


def check(clang_tidy, path, commands):
    # The compile commands are g++'s, and name warnings that clang does not have; and clang finds that g++'s own
    # stable_sort uses what is deprecated.
    run = subprocess.run(
        [clang_tidy, "--quiet", "--extra-arg=-Wno-unknown-warning-option", "--extra-arg=-Wno-deprecated-declarations",
         "-p", commands, path],
        capture_output=True, text=True)
    return run.returncode, run.stdout


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    clang_tidy = sys.argv[1]
    source, build, cache = (pathlib.Path(argument).resolve() for argument in sys.argv[2:])
    cache.mkdir(parents=True, exist_ok=True)
    rules = (source / ".clang-tidy").read_text()
    version = subprocess.run([clang_tidy, "--version"], capture_output=True, text=True, check=True).stdout
    sources = entries(source, build)
    todo = {}
    for path, entry in sources.items():
        # The checkout's place does not matter, so that clones share what is known.
        command = entry["command"].replace(str(build), "BUILD").replace(str(source), "SOURCE")
        key = digest(*(f.read_text() for f in with_headers(path, source)), rules, version, command)
        if not (cache / key).exists():
            todo[path] = key
    failed = 0
    with tempfile.TemporaryDirectory() as commands, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        (pathlib.Path(commands) / "compile_commands.json").write_text(json.dumps(list(sources.values())))
        running = {pool.submit(check, clang_tidy, path, commands): path for path in todo}
        for done, future in enumerate(concurrent.futures.as_completed(running), 1):
            path = running[future]
            code, output = future.result()
            print(f"[{done}/{len(todo)}] {path.relative_to(source)}", flush=True)
            if code:
                failed += 1
                print(output, flush=True)
            else:
                (cache / todo[path]).touch()
    print(f"{len(todo)} files checked, {failed} with findings")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
