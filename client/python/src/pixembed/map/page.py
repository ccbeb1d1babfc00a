"""The page: one HTML file that holds everything that it shows.

What comes from outside, ids and file names above all, enters in two ways: as text of the markup
(`html.escape`), and as strings of a JSON that no `<` of theirs can end, which the script sets as
text only. Should something get through nevertheless, the page's policy lets no script run but its
own, and nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import html
import itertools
import json
import re
from collections.abc import Iterable, Mapping
from importlib import resources

from pixembed.map.drift import Drift
from pixembed.map.embeddings import describe_left_out
from pixembed.map.survey import File, Survey

COLOURS = 10
"""Of clusters, in page.css; more clusters take them in turn."""

_STEPS = 65535
"""In which places are counted along each axis."""


def page(survey: Survey, thumbnails: Mapping[int, str]) -> str:
    """`thumbnails`: data: URIs by row."""
    style, script = _asset("page.css"), _asset("page.js")
    names = " against ".join(file.name for file in survey.files)
    parts = {
        "policy": "default-src 'none'; img-src data:; "
        f"style-src {_hash(style)}; script-src {_hash(script)}",
        "style": style,
        "script": script,
        "data": _data(survey, thumbnails),
        "title": html.escape(names),
        "facts": _facts(survey),
        "modes": _modes(survey),
        "clusters": _clusters(survey),
        "duplicates": _duplicates(survey),
        "outliers": _outliers(survey),
    }
    # In one pass: what is put in is not looked at again.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _asset("page.html"))


def listed_rows(survey: Survey) -> list[int]:
    """The rows that the page lists, outliers and pairs in turn, each in the order of its list."""
    outliers = [(outlier.row,) for outlier in survey.outliers[: survey.options.listed]]
    pairs = [(pair.first, pair.second) for pair in survey.duplicates.pairs]
    turns = itertools.chain.from_iterable(itertools.zip_longest(outliers, pairs, fillvalue=()))
    rows = itertools.chain.from_iterable(turns)
    return list(dict.fromkeys(rows))


def _asset(name: str) -> str:
    return resources.files("pixembed.map").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """As a content security policy names an element of its page."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _data(survey: Survey, thumbnails: Mapping[int, str]) -> str:
    data = {
        "ids": survey.ids,
        "places": (survey.projection.points * _STEPS).round().astype(int).ravel().tolist(),
        "steps": _STEPS,
        "clusters": survey.clusters.tolist(),
        "colours": COLOURS,
        "files": [{"name": file.name, "rows": file.rows} for file in survey.files],
        "duplicates": survey.duplicates.rows,
        "outliers": [outlier.row for outlier in survey.outliers],
        "thumbnails": thumbnails,
    }
    text = json.dumps(data, separators=(",", ":"))
    # These stand in strings only, where JSON has another name for them.
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _facts(survey: Survey) -> str:
    facts = [f"{_count(len(survey.ids), 'image')}, placed by {survey.projection.method}"]
    facts += [_left_out(file) for file in survey.files if file.left_out]
    facts.append(f"fingerprint {survey.fingerprint or 'unknown'}")
    return "".join(f"<li>{html.escape(fact)}</li>" for fact in facts)


def _left_out(file: File) -> str:
    return f"{file.name}: {describe_left_out(file.left_out)}"


def _modes(survey: Survey) -> str:
    """What points may be coloured by, the one to begin with first."""
    modes = {"findings": "near-duplicates and outliers", "cluster": "cluster"}
    if survey.drift is not None:
        modes = {"file": "file"} | modes
    return "".join(f'<option value="{value}">{text}</option>' for value, text in modes.items())


def _clusters(survey: Survey) -> str:
    if survey.drift is not None:
        return _drift(survey, survey.drift)
    sizes: dict[int, int] = {}
    for cluster in survey.clusters.tolist():
        sizes[cluster] = sizes.get(cluster, 0) + 1
    rows = [
        [_cluster(cluster), str(sizes[cluster]), _percent(sizes[cluster] / len(survey.ids))]
        for cluster in sorted(sizes)
    ]
    return f"<h2>Clusters</h2>{_table(['cluster', 'images', 'share'], rows)}"


def _drift(survey: Survey, drift: Drift) -> str:
    file, against = (html.escape(file.name) for file in survey.files)
    rows = [
        [
            _cluster(share.cluster),
            _percent(share.share),
            _percent(share.against),
            f"{100 * share.change:+.1f}".replace("-", "\N{MINUS SIGN}"),
            f"±{100 * share.by_chance:.1f}",
        ]
        for share in drift.shares
    ]
    heads = ["cluster", "share", "share against", "change", "by chance"]
    return (
        f"<h2>Drift</h2><p>Of <bdi>{file}</bdi>, held against <bdi>{against}</bdi>.</p>"
        f"<p>Centroid distance <strong>{drift.centroid_distance:.4f}</strong>; "
        f"two samples of one whole would have {drift.by_chance:.4f}.</p>"
        f"{_table(heads, rows)}<p class=note>Change in percentage points; by chance: one standard "
        "deviation, if both were samples of one whole.</p>"
    )


def _duplicates(survey: Survey) -> str:
    found = survey.duplicates
    rows = [
        [f"{pair.similarity:.4f}", _row(survey, pair.first), _row(survey, pair.second)]
        for pair in found.pairs
    ]
    what = f"with a cosine of at least {survey.options.duplicates_above:g}"
    return (
        f"<h2>Near-duplicates</h2><p>{_count(found.count, 'pair')} {what}"
        f"{_of_which(len(rows), found.count)}.</p>{_table(['cosine', 'image', 'image'], rows)}"
    )


def _outliers(survey: Survey) -> str:
    listed = survey.outliers[: survey.options.listed]
    rows = [[f"{outlier.distance:.4f}", _row(survey, outlier.row)] for outlier in listed]
    what = (
        f"more than {survey.options.outliers_above:g} deviations over the median distance "
        "(1 - cosine) to the nearest neighbours"
    )
    return (
        f"<h2>Outliers</h2><p>{_count(len(survey.outliers), 'image')} {what}"
        f"{_of_which(len(rows), len(survey.outliers))}.</p>{_table(['distance', 'image'], rows)}"
    )


def _of_which(listed: int, count: int) -> str:
    return f"; the first {listed} are listed" if listed < count else ""


def _row(survey: Survey, row: int) -> str:
    """A button that shows the row on the map; the script gives it its thumbnail."""
    name = f"<bdi>{html.escape(survey.ids[row])}</bdi>"
    if len(survey.files) > 1:
        against = row >= survey.files[0].rows
        name += f" <small>{'against' if against else 'file'}</small>"
    return f'<button type=button class=row data-row="{row}">{name}</button>'


def _cluster(cluster: int) -> str:
    return (
        f'<button type=button class=cluster data-cluster="{cluster}" aria-pressed=false>'
        f'<span class="swatch colour-{cluster % COLOURS}"></span>{cluster}</button>'
    )


def _table(heads: Iterable[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th scope=col>{text}</th>" for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
