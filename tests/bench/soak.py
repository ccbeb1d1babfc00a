#!/usr/bin/env python3
"""A server under load for a long time: does its memory stay, is nothing lost, does the latency hold?

usage: PYTHONPATH=client/python/src soak.py [--model MODEL_DIR] [--minutes 20] [--share 0.8] [--peak-seconds 20]

Starts the real server on a free port of loopback, finds its peak with a closed loop, then sends at --share of it,
minute after minute, half of it as unary requests and half through a stream (open loops: `pixembed load --rate`), over
pictures of several sizes and formats. Every second it notes the server's resident set. Writes build/bench/soak.json
and says whether the resident set kept 1.25 x the weights + the budgets that the server was given + --libraries (the
programs themselves, LibTorch above all), whether it grew behind the first quarter, and what was lost. Exit code 0 if
all holds, else 1. Ends what it started, and nothing else.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import PIL.Image

from harness import programs, soak
from harness.settings import OUT, ROOT, commit_of
from harness.store import Raw

MIB = 1 << 20
# What the server may hold beside its weights; small, so that the bound means something.
BUDGETS = {"max_decoded_bytes": 256 * MIB, "max_queued_bytes": 128 * MIB, "max_receive_bytes": 128 * MIB}
LIBRARIES_MB = 400
FORMATS = ("jpg", "png", "webp", "gif", "bmp", "tiff", "avif")
SCALES = (0.1, 0.5, 1.0)


def pictures() -> pathlib.Path:
    """Every format at every scale of the benchmark's two pictures."""
    folder = OUT / "soak-pictures"
    if (folder / "_SUCCESS").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted(programs.pictures().glob("*.jpg")):
        with PIL.Image.open(source) as image:
            for scale in SCALES:
                resized = image.resize((round(image.width * scale), round(image.height * scale)))
                for extension in FORMATS:
                    resized.save(folder / f"{source.stem}-{scale}.{extension}")
    (folder / "_SUCCESS").touch()
    return folder


@contextmanager
def sampling(server: programs.Server, samples: list[soak.Sample]) -> Iterator[None]:
    """Notes the server's memory every second."""
    begin = time.monotonic()
    ended = threading.Event()

    def sample() -> None:
        status = pathlib.Path(f"/proc/{server.pid}/status")
        while not ended.wait(1.0):
            samples.append(soak.of_status(time.monotonic() - begin, status.read_text()))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def loads(server: programs.Server, rate: float, seconds: float, minute: int, folder: pathlib.Path) -> list[Raw]:
    """Unary requests and a stream at once; the reports of both, or why there is none."""
    processes = {}
    reports: list[Raw] = []
    try:
        for name, flags in (("unary", []), ("stream", ["--stream"])):
            command = programs.load_command(
                server, f"--rate={rate / 2}", f"--duration={seconds}s", f"--seed={minute}", *flags, folder
            )
            processes[name] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for name, process in processes.items():
            output, errors = process.communicate(timeout=seconds + 600)
            report = json.loads(output) if output.startswith("{") else {"error": errors.strip()}
            report.pop("latency_histogram_ms", None)
            reports.append({"call": name, "minute": minute, **report})
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    return reports


def row(reports: Sequence[Raw], resident: int) -> str:
    minute = reports[0]["minute"]
    cells = [f"minute {minute + 1:3}: resident {resident / soak.MB:.1f} MB"]
    for report in reports:
        if "error" in report:
            cells.append(f"{report['call']} failed: {report['error']}")
            continue
        latency = report["latency_ms"]
        cells.append(
            f"{report['call']} {report['images_per_second']:.1f}/s p50 {latency['p50']:.1f} p99 {latency['p99']:.1f} ms"
        )
    return "; ".join(cells)


def answered_by(log: pathlib.Path) -> int:
    match = re.search(r"(\d+) images answered", log.read_text())
    if match is None:
        sys.exit(f"soak: {log} does not say how many images were answered")
    return int(match.group(1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cache = pathlib.Path(os.environ["PIXEMBED_CACHE"])
    parser.add_argument("--model", type=pathlib.Path, default=cache / "models/vit-ti16", help="default: %(default)s")
    parser.add_argument("--minutes", type=float, default=20.0, help="default: %(default)s")
    parser.add_argument("--share", type=float, default=0.8, help="of the peak; default: %(default)s")
    parser.add_argument("--peak-seconds", type=float, default=20.0, help="default: %(default)s")
    parser.add_argument(
        "--libraries", type=int, default=LIBRARIES_MB, help="MB of the resident set; default: %(default)s"
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the server is ended, too
    OUT.mkdir(parents=True, exist_ok=True)
    folder = pictures()
    weights = (arguments.model / "model.safetensors").stat().st_size
    budgets = {**BUDGETS, "libraries": arguments.libraries * soak.MB}
    samples: list[soak.Sample] = []
    reports: list[Raw] = []
    with programs.pixembed_server(arguments.model, *(f"--{name}={value}" for name, value in BUDGETS.items())) as server:
        programs.warm_up(server, folder)
        peak = programs.load(server, "--concurrency=16", f"--duration={arguments.peak_seconds}s", folder)
        before = programs.WARM_UP_REQUESTS + peak["images"]
        rate = arguments.share * peak["images_per_second"]
        print(f"peak {peak['images_per_second']:.1f} images/s; sending {rate:.1f} for {arguments.minutes:g} minutes")
        with sampling(server, samples):
            left, minute = 60 * arguments.minutes, 0
            while left > 0:
                new = loads(server, rate, min(left, 60.0), minute, folder)
                reports += new
                print(row(new, samples[-1].resident), flush=True)
                left, minute = left - 60.0, minute + 1
    answered = answered_by(OUT / "logs/pixembed-server.log") - before
    verdict = soak.judge(samples, reports, weights, sum(budgets.values()), answered)
    result = {
        "commit": commit_of(ROOT),
        "model": str(arguments.model.name),
        "peak": peak["images_per_second"],
        "rate": rate,
        "verdict": dataclasses.asdict(verdict),
        "samples": [dataclasses.asdict(sample) for sample in samples],
        "loads": reports,
    }
    (OUT / "soak.json").write_text(json.dumps(result, indent=1))
    print(soak.describe(verdict, weights, budgets))
    sys.exit(0 if verdict.holds() else 1)


if __name__ == "__main__":
    main()
