"""The walk of a job: what is done already is skipped, the rest is streamed, parts are written."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import itertools
import json
import pathlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pixembed._results import Result
from pixembed.bulk.parts import Format, Parts, Row, digest_of, remove_unfinished, write_text
from pixembed.bulk.sources import Source
from pixembed.client import Client
from pixembed.engine import Engine
from pixembed.errors import ImageError

# Readers of a folder of Parquet skip names that begin so, and take all others for parts.
JOB_FILE = "_job.json"
DONE_FILE = "_SUCCESS"
LOCK_FILE = ".lock"

_OF_A_SITTING = ("lane", "timeout")
"""Options that change nothing about the vectors."""

_OLD_JOB_FILE = "job.json"
"""As folders have it that an older version began."""


class JobError(Exception):
    """The job cannot begin or go on."""


@dataclass(frozen=True)
class Job:
    """What is to be done. A folder belongs to one job: when it is started again, all of this must
    be the same."""

    output: pathlib.Path
    format: Format = "parquet"
    part_rows: int | None = None
    """Images of a part; the folder's own when it is there already, else 4096."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of `Client.embed_stream`: model, pooling, normalize, ..."""


@dataclass
class Summary:
    """Images of all parts, those of earlier sittings included."""

    embedded: int = 0
    failed: int = 0
    fingerprint: str = ""


@dataclass
class _Part:
    """A part that is being filled."""

    number: int
    rows: list[Row] = field(default_factory=list)
    missing: int = 0
    closed: bool = False
    """No more images belong to it."""

    @property
    def complete(self) -> bool:
        return self.closed and self.missing == 0


def run(
    job: Job,
    client: Client | Engine,
    images: Iterator[Source],
    progress: Callable[[int, int], object] = lambda embedded, failed: None,
) -> Summary:
    """Embeds `images` into `job.output`, or what of them is missing there.

    `progress` is told how many more images are embedded and failed. Raises JobError, SourceError,
    ServiceError; the parts that are written stay, and the next run goes on from them.
    """
    try:
        job.output.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise JobError(f"{job.output} is a file; the output is a folder") from error
    except OSError as error:
        raise JobError(f"the folder {job.output} cannot be made: {error.strerror}") from error
    with _lock(job.output):
        # A part that is there already is not always written again over what is left of it.
        remove_unfinished(job.output)
        return _Run(job, client, progress).run(images)


@contextlib.contextmanager
def _lock(folder: pathlib.Path) -> Iterator[None]:
    """Two jobs in one folder would write the same parts."""
    with (folder / LOCK_FILE).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise JobError("another job is at work in this folder") from error
        yield


class _Run:
    def __init__(
        self, job: Job, client: Client | Engine, progress: Callable[[int, int], object]
    ) -> None:
        self._client = client
        self._progress = progress
        self._options = dict(job.options)
        self._file = job.output / JOB_FILE
        self._done_file = job.output / DONE_FILE
        known = self._read_job_file(job)
        self._part_rows = int(known["part_rows"])
        self._record = known
        self._fingerprint = str(known["fingerprint"])
        if self._fingerprint:
            self._options["expected_fingerprint"] = self._fingerprint
        self._parts = Parts(job.output, job.format, int(known["dimension"]))
        self._summary = Summary(fingerprint=self._fingerprint)
        self._lock = threading.Lock()
        # Guarded by _lock: filled by the stream's thread, emptied by the caller's.
        self._open: dict[int, _Part] = {}
        self._places: dict[int, tuple[_Part, int]] = {}

    def run(self, images: Iterator[Source]) -> Summary:
        number = self._skip_what_is_done(images)
        first = next(images, None)
        if first is None and number == 0:
            raise JobError("the inputs hold no image: look at them, and at the extensions")
        if first is not None:
            self._done_file.unlink(missing_ok=True)
            rest = itertools.chain([first], images)
            for result in self._client.embed_stream(self._feed(rest, number), **self._options):
                self._take(result)
                self._write_complete_parts()
            self._write_complete_parts()
            with self._lock:
                assert not self._open, "every image has a result"
        report = json.dumps(dataclasses.asdict(self._summary), indent=2) + "\n"
        write_text(self._done_file, report)
        return self._summary

    def _read_job_file(self, job: Job) -> dict[str, Any]:
        """The folder's record; of a new folder what it will be. It gets its name of today."""
        wanted = {
            "format": job.format,
            # As JSON gives them back.
            "options": json.loads(
                json.dumps({k: v for k, v in job.options.items() if k not in _OF_A_SITTING})
            ),
        }
        file = self._file
        if not file.exists():
            file = file.with_name(_OLD_JOB_FILE)
        if not file.exists():
            model = self._model(str(job.options.get("model", "")))
            dimension = int(job.options.get("dimensions", 0)) or model.dimension
            rows = job.part_rows or 4096
            return wanted | {"part_rows": rows, "dimension": dimension, "fingerprint": ""}
        try:
            known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise JobError(f"{file} is not a job's record: {error}") from error
        if job.part_rows is not None:
            wanted["part_rows"] = job.part_rows
        for key, value in wanted.items():
            if known.get(key) != value:
                raise JobError(
                    f"{self._file.parent} was begun with {key} {json.dumps(known.get(key))}, now "
                    f"it is {json.dumps(value)}: a folder holds one job"
                )
        # Not before it is known to be this job's.
        file.replace(self._file)
        return known

    def _model(self, name: str) -> Any:
        models = self._client.models()
        for model in models:
            if name in ("", model.name):
                return model
        raise JobError(f'no model "{name}"; there is {", ".join(m.name for m in models)}')

    def _skip_what_is_done(self, images: Iterator[Source]) -> int:
        """Takes the images of the parts that exist; the number of the first part to write.

        Parts are written as they are complete, which need not be their order: those behind the
        first gap are made again.
        """
        number = 0
        while self._parts.exists(number):
            ids = [source.id for source in itertools.islice(images, self._part_rows)]
            try:
                part = self._parts.read(number)
            except (OSError, ValueError, KeyError) as error:
                raise JobError(f"{self._parts.path(number)} cannot be read: {error}") from error
            if part.digest != digest_of(ids):
                raise JobError(
                    f"{self._parts.path(number)} holds {part.rows} other images than the inputs "
                    "give now: they have changed; begin a new folder"
                )
            self._count(part.rows - part.failed, part.failed)
            number += 1
            if part.rows < self._part_rows:
                break  # the last one
        return number

    def _feed(self, images: Iterator[Source], number: int) -> Iterator[bytes]:
        """What the stream sends; notes where each result belongs."""
        part = self._begin(number)
        sent = 0
        for source in images:
            if len(part.rows) == self._part_rows:
                part.closed = True
                part = self._begin(part.number + 1)
            row = len(part.rows)
            try:
                data = source.read()
            except OSError as error:
                failure = ImageError("NOT_FOUND", "UNREADABLE_FILE", str(error))
                part.rows.append(Row(source.id, None, failure))
                continue
            with self._lock:
                part.rows.append(Row(source.id, None, None))
                part.missing += 1
                self._places[sent] = (part, row)
            sent += 1
            yield data
        part.closed = True

    def _begin(self, number: int) -> _Part:
        part = _Part(number)
        with self._lock:
            self._open[number] = part
        return part

    def _take(self, result: Result) -> None:
        if result.fingerprint and result.fingerprint != self._fingerprint:
            self._found(result.fingerprint)
        with self._lock:
            part, place = self._places.pop(result.index)
            part.rows[place] = Row(part.rows[place].id, result.vector, result.error)
            part.missing -= 1

    def _found(self, fingerprint: str) -> None:
        """The first answer tells the space that all vectors of the folder live in."""
        if self._fingerprint:
            raise JobError(
                f"the servers disagree: one answers in the space {self._fingerprint}, another in "
                f"{fingerprint}"
            )
        self._fingerprint = self._summary.fingerprint = fingerprint
        self._write_job_file()

    def _count(self, embedded: int, failed: int) -> None:
        self._summary.embedded += embedded
        self._summary.failed += failed
        self._progress(embedded, failed)

    def _write_job_file(self) -> None:
        text = json.dumps(self._record | {"fingerprint": self._fingerprint}, indent=2) + "\n"
        write_text(self._file, text)

    def _write_complete_parts(self) -> None:
        with self._lock:
            complete = [part for part in self._open.values() if part.complete]
        for part in sorted(complete, key=lambda part: part.number):
            if not self._file.exists():
                self._write_job_file()  # not one image of the first part was embedded
            self._parts.write(part.number, part.rows, self._fingerprint)
            failed = sum(row.error is not None for row in part.rows)
            self._count(len(part.rows) - failed, failed)
            with self._lock:
                del self._open[part.number]
