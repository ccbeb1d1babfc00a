"""pixembed-map: shows a Parquet file of embeddings as one HTML page."""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Callable, Sequence

from pixembed.bulk.parts import write_text
from pixembed.map import MapError, Options, Survey, page, read, survey, thumbnails
from pixembed.map.embeddings import describe_left_out
from pixembed.map.page import listed_rows
from pixembed.map.thumbnails import rows_to_show


def main(arguments: Sequence[str] | None = None) -> int:
    parsed = _parser().parse_args(arguments)
    try:
        _check_paths(parsed)  # better said now than after the work
        found = _survey(parsed)
        rows = rows_to_show(listed_rows(found), len(found.ids), parsed.thumbnails)
        pictures = thumbnails(found.ids, rows, parsed.root, parsed.thumbnail_size)
        write_text(parsed.output, page(found, pictures))
    except (MapError, OSError) as error:
        print(f"pixembed-map: {error}", file=sys.stderr)
        return 1
    print(_summary(found, len(pictures), parsed.output))
    return 0


def _check_paths(parsed: argparse.Namespace) -> None:
    output: pathlib.Path = parsed.output
    if output.is_dir() or not output.name:
        raise MapError(f"--output is {output}, a folder; it is a file, as map.html")
    if not output.parent.is_dir():
        raise MapError(f"{output}: there is no such folder")
    for read_from in (parsed.file, parsed.against):
        if read_from is None or not read_from.exists() or not output.exists():
            continue
        one_of_them = output.suffix == ".parquet" and output.parent.samefile(read_from)
        if one_of_them or output.samefile(read_from):
            raise MapError(f"--output is {output}, which is read: it would be lost")
    if parsed.root is not None and not parsed.root.is_dir():
        raise MapError(f"--root is {parsed.root}: there is no such folder")


def _parser() -> argparse.ArgumentParser:
    options = Options()
    parser = argparse.ArgumentParser(
        prog="pixembed-map",
        description="Shows a Parquet file of embeddings, as pixembed-bulk writes it, as one HTML "
        "page that fetches nothing: a map, near-duplicates, outliers, drift.",
    )
    parser.add_argument(
        "file", type=pathlib.Path, metavar="FILE", help="a Parquet file, or a folder of them"
    )
    add = parser.add_argument
    add("--output", required=True, type=pathlib.Path, help="the page, as map.html")
    add(
        "--against",
        type=pathlib.Path,
        metavar="FILE",
        help="another file or folder, of the same fingerprint: how FILE differs from it",
    )
    add("--id-column", default="id", help="for files of others; default: %(default)s")
    add(
        "--vector-column",
        default="vector",
        help="for files of others: lists of numbers of one length; default: %(default)s",
    )
    add(
        "--root",
        type=pathlib.Path,
        help="folder that the ids are relative to; no image outside of it is read. Default: ids "
        "are paths as they stand, in tar shards too",
    )
    add(
        "--thumbnails",
        type=_not_negative,
        default=2000,
        help="the most images that get one: what is listed first, then others, evenly. Images that "
        "are missing have none; default: %(default)s",
    )
    add("--thumbnail-size", type=_pixels, default=96, help="pixels a side; default: %(default)s")
    add(
        "--duplicates-above",
        type=_between(-1, 1),
        default=options.duplicates_above,
        help="cosine of near-duplicates. Models differ: look at the list, and raise it if it is "
        "long; default: %(default)s",
    )
    add(
        "--outliers-above",
        type=_between(0, 1e6),
        default=options.outliers_above,
        help="deviations over the median distance to the neighbours; default: %(default)s",
    )
    add(
        "--neighbours",
        type=_neighbours,
        default=options.neighbours,
        help="nearest neighbours of each row: what UMAP keeps near, and an outlier is far from; "
        "default: %(default)s",
    )
    add("--clusters", type=_positive, help="how many; default: 10, fewer for few rows")
    add(
        "--listed",
        type=_not_negative,
        default=options.listed,
        help="the longest that the lists of pairs and of outliers get, all are highlighted; "
        "default: %(default)s",
    )
    add(
        "--seed",
        type=_not_negative,
        default=options.seed,
        help="of the projection and the clusters; default: %(default)s",
    )
    return parser


def _at_least(least: int, text: str, most: int = 2**32 - 1) -> int:
    try:
        number = int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'"{text}" is no whole number') from error
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"{number} is not between {least} and {most}")
    return number


def _not_negative(text: str) -> int:
    return _at_least(0, text)


def _positive(text: str) -> int:
    return _at_least(1, text)


def _neighbours(text: str) -> int:
    return _at_least(2, text, 1000)


def _pixels(text: str) -> int:
    return _at_least(16, text, 512)


def _between(least: float, most: float) -> Callable[[str], float]:
    def number_of(text: str) -> float:
        try:
            number = float(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f'"{text}" is no number') from error
        if not least <= number <= most:  # nor is NaN
            raise argparse.ArgumentTypeError(f"{text} is not between {least} and {most}")
        return number

    return number_of


def _survey(parsed: argparse.Namespace) -> Survey:
    columns = {"id_column": parsed.id_column, "vector_column": parsed.vector_column}
    options = Options(
        neighbours=parsed.neighbours,
        duplicates_above=parsed.duplicates_above,
        outliers_above=parsed.outliers_above,
        clusters=parsed.clusters,
        listed=parsed.listed,
        seed=parsed.seed,
    )
    against = None if parsed.against is None else read(parsed.against, **columns)
    return survey(read(parsed.file, **columns), against, options)


def _summary(found: Survey, pictures: int, output: pathlib.Path) -> str:
    lines = [
        f"{output}: {len(found.ids)} images, placed by {found.projection.method}",
        f"pairs of near-duplicates: {found.duplicates.count}; outliers: {len(found.outliers)}; "
        f"thumbnails: {pictures}",
    ]
    lines += [
        f"{file.name}: {describe_left_out(file.left_out)}" for file in found.files if file.left_out
    ]
    if found.drift is not None:
        lines.append(
            f"centroid distance {found.drift.centroid_distance:.4f}, "
            f"by chance {found.drift.by_chance:.4f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
