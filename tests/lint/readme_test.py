#!/usr/bin/env python3
"""What the README shows is what the tree holds: its C++ example is client/cpp/example/main.cc, every path that it names exists.

usage: readme_test.py SOURCE_DIR
"""

import pathlib
import re
import sys

# Names of things to come, in the README's table "to add".
TO_COME = re.compile(r"(^|[/_])x(\.|_|$)")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    root = pathlib.Path(sys.argv[1])
    readme = (root / "README.md").read_text()
    problems = []
    example = (root / "client/cpp/example/main.cc").read_text().split("\n", 1)[1]
    if f"```cpp\n{example}```" not in readme:
        problems.append("the README's C++ example is not client/cpp/example/main.cc")
    for path in re.findall(r"(?<![\w./~-])((?:src|server|client|proto|tests|deploy)/[\w./-]+)", readme):
        path = path.rstrip("./")
        if not TO_COME.search(path) and not (root / path).exists():
            problems.append(f"the README names {path}, which does not exist")
    print("\n".join(problems) or "the README is true")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
