#!/usr/bin/env python3
"""Runs clang-tidy over every source of the project, and remembers which were clean.

usage: clang_tidy.py SOURCE_DIR BUILD_DIR CACHE_DIR

A file is checked again when it, a header of the project that it includes, its compile command or .clang-tidy
changed. Exits 1 on any finding; the rules and the reasons for their exceptions are in .clang-tidy.
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

CLANG_TIDY = "clang-tidy-14"
TOPS = ("src", "api", "embedded", "server", "client", "tests")
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)


def commands(source, build):
    """Each source of the project, with its compile command."""
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = pathlib.Path(entry["file"])
        if path.is_relative_to(source) and path.relative_to(source).parts[0] in TOPS:
            yield path, entry["command"]


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


def check(path, build):
    # The compile commands are g++'s, and name warnings that clang does not have.
    run = subprocess.run([CLANG_TIDY, "--quiet", "--extra-arg=-Wno-unknown-warning-option", "-p", build, path],
                         capture_output=True, text=True)
    return run.returncode, run.stdout


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    source, build, cache = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
    cache.mkdir(parents=True, exist_ok=True)
    rules = (source / ".clang-tidy").read_text()
    todo = {}
    for path, command in commands(source, build):
        # The checkout's place does not matter, so that clones share what is known.
        command = shlex.join(shlex.split(command)).replace(str(build), "BUILD").replace(str(source), "SOURCE")
        key = digest(*(f.read_text() for f in with_headers(path, source)), rules, command)
        if not (cache / key).exists():
            todo[path] = key
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        running = {pool.submit(check, path, build): path for path in todo}
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
