"""pixembed-bulk: embeds folders, tar shards and manifests, and goes on where it was stopped."""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pixembed._connection import Tls
from pixembed.bulk.job import Job, JobError, Summary, run
from pixembed.bulk.sources import EXTENSIONS, SourceError, sources
from pixembed.client import Client
from pixembed.engine import Engine, EngineOptions
from pixembed.errors import ServiceError

EXIT_FAILED = 1
EXIT_NOTHING_EMBEDDED = 3
EXIT_STOPPED = 130
# 2 is argparse's.
EXIT_CODES = (
    "exit codes: 0 every image has its row, and at least one is embedded (the others' rows say why "
    "they are not); 1 the job cannot begin or go on; 2 the command line makes no sense; "
    "3 every image has its row, and not one is embedded; 130 stopped (Ctrl-C). Those of earlier "
    "sittings count."
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    parsed = parser.parse_args(arguments)
    try:
        with _client(parsed) as client:
            summary = _run(parsed, client)
    except (JobError, SourceError, ServiceError, OSError, ValueError) as error:
        print(f"pixembed-bulk: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("pixembed-bulk: stopped; the same command goes on from here", file=sys.stderr)
        return EXIT_STOPPED
    if summary.embedded == 0:
        print(
            f"0 images embedded, all {summary.failed} failed: nothing could be embedded; the rows "
            f"in {parsed.output} say why"
        )
        return EXIT_NOTHING_EMBEDDED
    print(
        f"{summary.embedded} images embedded, {summary.failed} failed; "
        f"fingerprint {summary.fingerprint or 'unknown'}"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pixembed-bulk",
        description="Embeds images into a folder of Parquet, Arrow or NumPy parts. Killed at any "
        "moment and started again it goes on where it was: no image is lost or there twice.",
        epilog=EXIT_CODES,
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="a folder, a file, a glob, a tar shard, or a manifest as @FILE (.jsonl, .csv, or a "
        "path a line)",
    )
    add = parser.add_argument
    add("--output", required=True, type=_folder, help="folder of the parts")
    add(
        "--format",
        choices=("parquet", "arrow", "npy"),
        default="parquet",
        help="of the parts: parquet, arrow or npy (with the ids in .jsonl beside it); "
        "default: %(default)s",
    )
    add("--part-rows", type=_positive, help="images of a part; default: 4096")
    add(
        "--extensions",
        default=",".join(EXTENSIONS),
        help="which files of a folder or a tar shard are images, * is every file; "
        "default: %(default)s",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--address",
        default="localhost:50051",
        help="the server, or several separated by commas; default: %(default)s",
    )
    where.add_argument(
        "--offline",
        metavar="MODEL_DIR",
        help="no server: the engine in this process, with this model",
    )
    add("--tls", action="store_true", help="speak TLS; any --tls- flag does the same")
    add(
        "--tls-ca-file",
        metavar="FILE",
        help="authorities, in PEM, that the server's certificate is held against; default: gRPC's "
        "list",
    )
    add(
        "--tls-server-name",
        default="",
        metavar="NAME",
        help="name in the server's certificate, where it is not that of the address",
    )
    add(
        "--token-file",
        metavar="FILE",
        help="file whose first line is the token that the server wants",
    )
    add("--insecure-token", action="store_true", help="send the token without TLS")
    add(
        "--engine-library",
        metavar="FILE",
        help="libpixembed_engine.so, for --offline; default: as `Engine` finds it",
    )
    add(
        "--engine-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="for --offline: a flag of pixembed-server, as precision=bfloat16; may repeat",
    )
    add("--model", default="", help="name of the model; default: the server's first")
    add(
        "--pooling",
        default="mean",
        help="mean, cls, max or masked_mean: how the tokens become one vector; "
        "default: %(default)s",
    )
    add(
        "--layers",
        type=_integers,
        default=[],
        help="which hidden states are pooled, as -2,-1; default: last_hidden_state",
    )
    add(
        "--exif-orientation",
        choices=("ignore", "apply"),
        default="ignore",
        help="apply turns images upright as their EXIF data say; default: %(default)s",
    )
    add(
        "--background",
        type=_integers,
        help="red, green and blue behind transparent pixels, as 255,255,255; default: alpha is "
        "dropped",
    )
    add("--normalize", action="store_true", help="scale each vector to length 1")
    add(
        "--dimensions",
        type=_whole,
        default=0,
        help="keep the first so many dimensions, 0 keeps all; default: %(default)s",
    )
    add(
        "--lane",
        choices=("online", "bulk"),
        default="bulk",
        help="online does not let online traffic go first; default: %(default)s",
    )
    add("--quiet", action="store_true", help="no progress")
    return parser


def _folder(text: str) -> pathlib.Path:
    if not text:
        raise argparse.ArgumentTypeError("it is empty; it is a folder")
    return pathlib.Path(text)


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'"{text}" is no whole number') from error


def _positive(text: str) -> int:
    number = _whole(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def _integers(text: str) -> list[int]:
    return [_whole(word) for word in text.split(",")]


def _client(parsed: argparse.Namespace) -> Client | Engine:
    if parsed.offline is None:
        for name in ("engine_library", "engine_option"):
            if getattr(parsed, name):
                raise ValueError(f"--{name.replace('_', '-')} is for --offline, which is not there")
        tls = Tls(ca=parsed.tls_ca_file, server_name=parsed.tls_server_name)
        return Client(
            parsed.address.split(","),
            tls=parsed.tls if tls == Tls() else tls,
            token=_token(parsed.token_file),
            insecure_token=parsed.insecure_token,
        )
    for name in ("tls", "tls_ca_file", "tls_server_name", "token_file", "insecure_token"):
        if getattr(parsed, name):
            raise ValueError(f"--{name.replace('_', '-')} is for a server, which --offline has not")
    options: dict[str, Any] = dict(_option(text) for text in parsed.engine_option)
    return Engine(parsed.offline, library=parsed.engine_library, **options)


def _token(path: str | None) -> str | None:
    if path is None:
        return None
    first, *_ = [*pathlib.Path(path).read_text(encoding="utf-8").splitlines(), ""]
    if not first.strip():
        raise ValueError(f"--token-file is {path}: it has no token in its first line")
    return first.strip()


def _option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f'--engine-option is "{text}"; wanted is NAME=VALUE')
    name = name.removeprefix("--")
    known = EngineOptions.__annotations__
    if name not in known:
        raise ValueError(f'--engine-option is "{text}"; there are {", ".join(known)}')
    return name, value


def _run(parsed: argparse.Namespace, client: Client | Engine) -> Summary:
    options: dict[str, Any] = {
        "pooling": parsed.pooling,
        "layers": parsed.layers,
        "exif_orientation": parsed.exif_orientation,
        "normalize": parsed.normalize,
        "dimensions": parsed.dimensions,
        "lane": parsed.lane,
    }
    if parsed.model:
        options["model"] = parsed.model
    if parsed.background is not None:
        if len(parsed.background) != 3:
            raise ValueError("--background is red, green and blue, as 255,255,255")
        options["background"] = tuple(parsed.background)
    job = Job(parsed.output, parsed.format, parsed.part_rows, options)
    extensions = parsed.extensions.split(",")
    with _progress(parsed, extensions) as progress:
        return run(job, client, sources(parsed.inputs, extensions), progress)


@contextlib.contextmanager
def _progress(
    parsed: argparse.Namespace, extensions: Sequence[str]
) -> Iterator[Callable[[int, int], object]]:
    """A bar with rate and time left, where tqdm is there and a person looks."""
    if parsed.quiet or not sys.stderr.isatty():
        yield lambda embedded, failed: None
        return
    try:
        from tqdm import tqdm  # noqa: PLC0415  optional
    except ImportError:
        yield lambda embedded, failed: None
        return
    # Names only: nothing of the images is read for the count.
    total = sum(1 for _ in sources(parsed.inputs, extensions))
    with tqdm(total=total, unit=" images", file=sys.stderr) as bar:
        all_failed = 0

        def advance(embedded: int, failed: int) -> None:
            nonlocal all_failed
            all_failed += failed
            bar.set_postfix(failed=all_failed, refresh=False)
            bar.update(embedded + failed)

        yield advance


if __name__ == "__main__":
    sys.exit(main())
