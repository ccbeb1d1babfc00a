"""A report as headings, text, tables and drawings, in Markdown and in HTML that needs nothing else."""

import dataclasses
import html
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2


@dataclasses.dataclass(frozen=True)
class Text:
    text: str


@dataclasses.dataclass(frozen=True)
class Table:
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Drawing:
    """Shown in HTML only: Markdown has the tables."""

    svg: str


Part = Heading | Text | Table | Drawing

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { border: 1px solid #ccc; padding: .25em .6em; text-align: right; }
th { background: #f4f4f4; } th:first-child, td:first-child { text-align: left; white-space: nowrap; }
svg { max-width: 100%; height: auto; }
"""


def to_markdown(parts: Sequence[Part]) -> str:
    blocks = []
    for part in parts:
        if isinstance(part, Heading):
            blocks.append("#" * part.level + " " + part.text)
        elif isinstance(part, Text):
            blocks.append(part.text)
        elif isinstance(part, Table):
            lines = [part.head, ["---"] * len(part.head), *part.rows]
            cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
            blocks.append("\n".join("| " + " | ".join(line) + " |" for line in cells))
    return "\n\n".join(blocks) + "\n"


def to_html(title: str, parts: Sequence[Part]) -> str:
    body = []
    for part in parts:
        if isinstance(part, Heading):
            body.append(f"<h{part.level}>{html.escape(part.text)}</h{part.level}>")
        elif isinstance(part, Text):
            body.append(f"<p>{html.escape(part.text)}</p>")
        elif isinstance(part, Table):
            head = "".join(f"<th>{html.escape(cell)}</th>" for cell in part.head)
            rows = "\n".join(
                "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in part.rows
            )
            body.append(f"<table>\n<tr>{head}</tr>\n{rows}\n</table>")
        else:
            body.append(part.svg)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )
