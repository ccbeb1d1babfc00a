#!/usr/bin/env python3
"""What the README shows is what the tree holds: its examples are client/cpp/example/main.cc and
client/go/example/main.go, every path that it names exists, and the reasons of the Go client are among its own.
And what it says to run can be run: a script that begins with #! is executable, and no other is.

usage: readme_test.py SOURCE_DIR
"""

import os
import pathlib
import re
import sys

EXAMPLES = [  # language, file, where it is shown
    ("cpp", "client/cpp/example/main.cc", ["README.md"]),
    ("go", "client/go/example/main.go", ["README.md", "client/go/README.md"]),
]
# What a client says of itself, not of the server.
CLIENTS_OWN_REASONS = {"UNREADABLE_FILE"}
SCRIPTS = ["client", "deploy", "docs", "tests"]
# Names of things to come, in the README's table "to add".
TO_COME = re.compile(r"(^|[/_])x(\.|_|$)")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    root = pathlib.Path(sys.argv[1])
    readme = (root / "README.md").read_text()
    problems = []
    for language, file, places in EXAMPLES:
        example = (root / file).read_text().split("\n", 1)[1]
        problems += [f"the example in {place} is not {file}" for place in places
                     if f"```{language}\n{example}```" not in (root / place).read_text()]
    reasons = re.findall(r'Reason = "(\w+)"', (root / "client/go/errors.go").read_text())
    problems += [f"client/go/errors.go has the reason {reason}, which the README has not" for reason in reasons
                 if reason not in CLIENTS_OWN_REASONS and f"| `{reason}` |" not in readme]
    for path in re.findall(r"(?<![\w./~-])((?:src|server|client|proto|tests|deploy)/[\w./-]+)", readme):
        path = path.rstrip("./")
        if not TO_COME.search(path) and not (root / path).exists():
            problems.append(f"the README names {path}, which does not exist")
    for folder in SCRIPTS:
        for script in sorted((root / folder).rglob("*")):
            if script.suffix in {".py", ".sh"} and script.is_file():
                executable = os.access(script, os.X_OK)
                if script.read_text().startswith("#!") != executable:
                    problems.append(f"{script.relative_to(root)} is {'' if executable else 'not '}executable, and "
                                    f"begins with{'out' if executable else ''} #!")
    print("\n".join(problems) or "the README is true")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
