"""What is measured in a round of each leg. Both sides of a comparison run in turn, the other way round every second
round. A leg gives plain data; report.py makes tables of it."""

import dataclasses
import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from . import programs
from .programs import Server
from .settings import RELEASE, ROOT, Settings

Data = dict[str, Any]
T = TypeVar("T")

SATURATING = ("--concurrency=16", "--channels=2")
OURS = "decode+preprocess/"
LONE_CASE = "unary, 1 at a time"
SERVING_CASES: dict[str, Sequence[str]] = {
    LONE_CASE: ["--concurrency=1"],
    "unary, 16 at a time": SATURATING,
    "unary, 16 images a request": ["--concurrency=4", "--images_per_request=16", "--channels=2"],
    "stream": ["--stream", "--concurrency=64", "--channels=2"],
}
IDLE_GAP_SECONDS = 1.05
BULK_IMAGES_IN_FLIGHT = 64
ONLINE_SHARE = 0.5


@dataclasses.dataclass(frozen=True)
class Leg:
    name: str
    # One round, by its number.
    measure: Callable[[Settings, int], Data]
    # Needs `run.sh peers` first, and runs only when it is named.
    with_peers: bool = False


def in_turn(cases: Iterable[T], number: int) -> list[T]:
    """The cases, backwards in odd rounds: A B B A."""
    ordered = list(cases)
    return ordered[::-1] if number % 2 else ordered


def bare_shapes(cores: int) -> list[str]:
    """WORKERSxTHREADS: a thread each, or all of them on one batch."""
    return [f"{cores}x1", f"1x{cores}"] if cores > 1 else ["1x1"]


def bare(settings: Settings, model: pathlib.Path, batches: Sequence[int]) -> Data:
    """The forward of the same code, without server and decoding: {"2x1x4": rates}, by shape and batch."""
    lines = programs.json_lines(
        programs.run(
            RELEASE / "bench/forward_benchmark",
            model,
            f"--shapes={','.join(bare_shapes(settings.cores))}",
            f"--batches={','.join(map(str, batches))}",
            f"--seconds={settings.seconds}",
        )
    )
    return {f"{line['shape']}x{line['batch']}": line for line in lines}


def preprocess(settings: Settings, number: int) -> Data:
    """Decode + preprocess, milliseconds an image on one core."""
    folder = programs.pictures()

    def ours() -> Data:
        output = programs.run(
            RELEASE / "bench/preprocess_benchmark",
            f"--benchmark_filter=^{re.escape(OURS)}",
            "--benchmark_format=json",
            f"--benchmark_min_time={settings.seconds / 8}",
            environment={"PIXEMBED_BENCH_PICTURES": str(folder)},
        )
        rows = json.loads(output)["benchmarks"]
        return {row["name"].removeprefix(OURS): row["real_time"] for row in rows}

    def reference() -> Data:
        script = ROOT / "tests/bench/reference_preprocess.py"
        cases = json.loads(programs.run(sys.executable, script, folder, settings.seconds / 8))
        return {case: times["decode+preprocess"] for case, times in cases.items()}

    sides = {"ours_ms": ours, "reference_ms": reference}
    return {side: sides[side]() for side in in_turn(sides, number)}


def forward(settings: Settings, number: int) -> Data:
    """Bare forward, served rate and a lone request's latency, for each model.

    The served rate is that of all images from the first one sent to the last one answered. At the end a worker may have
    nothing to do while another finishes; measured twice as long as the others that is a few hundredths at most.
    """

    def sides(model: pathlib.Path, server: Server) -> dict[str, Callable[[], Data]]:
        seconds, image = settings.seconds, programs.picture()
        return {
            "bare": lambda: bare(settings, model, [1, 4]),
            "served": lambda: programs.load(server, *SATURATING, f"--duration={2 * seconds}s", image),
            "lone": lambda: programs.load(server, "--concurrency=1", f"--duration={seconds}s", image),
        }

    result: Data = {}
    for name in settings.models:
        with programs.pixembed_server(settings.model(name)) as server:
            programs.warm_up(server, programs.picture())
            todo = sides(settings.model(name), server)
            result[name] = {side: todo[side]() for side in in_turn(todo, number)}
    return result


def serving(settings: Settings, number: int) -> Data:
    """A model that computes nothing: what is left is serving and decoding."""
    duration = f"--duration={settings.seconds}s"
    with programs.null_server() as server:
        programs.warm_up(server, programs.picture())
        result: Data = {
            "cases": {
                case: programs.load(server, duration, *SERVING_CASES[case], programs.picture())
                for case in in_turn(SERVING_CASES, number)
            }
        }
        if number == 0 and settings.idle_requests:
            result["idle"] = programs.load(
                server,
                "--concurrency=1",
                f"--idle_gap={IDLE_GAP_SECONDS}s",
                f"--requests={settings.idle_requests}",
                programs.picture(),
            )
    return result


def peak_and_open_loop(settings: Settings, server: Server, number: int, loads: Sequence[float]) -> Data:
    """The closed loop's rate, and an open loop at shares of it."""
    duration = f"--duration={settings.seconds}s"
    programs.warm_up(server, programs.picture())
    peak = programs.load(server, *SATURATING, duration, programs.picture())
    rate = peak["images_per_second"]
    return {
        "peak": peak,
        "open": {
            str(share): programs.load(
                server,
                f"--rate={share * rate}",
                f"--seed={number}",
                "--channels=2",
                duration,
                programs.picture(),
            )
            for share in in_turn(loads, number)
        },
    }


def open_loop(settings: Settings, number: int) -> Data:
    """Latency under random arrivals, at shares of the peak that was measured just before."""
    result: Data = {}
    for name in settings.models:
        with programs.pixembed_server(settings.model(name)) as server:
            result[name] = peak_and_open_loop(settings, server, number, settings.loads)
    with programs.null_server() as server:
        result["null"] = peak_and_open_loop(settings, server, number, settings.loads)
    return result


def beside_bulk(server: Server, online: Sequence[object], duration: str) -> Data:
    """The online load while a stream of the lane bulk keeps its images in flight."""
    command = programs.load_command(
        server, "--stream", "--lane=bulk", f"--concurrency={BULK_IMAGES_IN_FLIGHT}", duration, programs.picture()
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as job:
        report = programs.load(server, *online)
        output, _ = job.communicate()
    if job.returncode:
        raise RuntimeError(f"the bulk job exited with {job.returncode}")
    return {"online": report, "bulk": json.loads(output)}


def bulk(settings: Settings, number: int) -> Data:
    """An open loop of online requests, with and without a stream of the bulk lane on the same server."""
    duration = f"--duration={settings.seconds}s"

    def measure(server: Server) -> Data:
        programs.warm_up(server, programs.picture())
        peak = programs.load(server, *SATURATING, duration, programs.picture())
        rate = ONLINE_SHARE * peak["images_per_second"]
        arrivals = (f"--rate={rate}", f"--seed={number}", "--channels=2", duration)
        online = (*arrivals, "--lane=online", programs.picture())
        sides: dict[str, Callable[[], Data]] = {
            "alone": lambda: {"online": programs.load(server, *online)},
            "with_bulk": lambda: beside_bulk(server, online, duration),
        }
        return {"peak": peak} | {side: sides[side]() for side in in_turn(sides, number)}

    result: Data = {}
    for name in settings.models:
        with programs.pixembed_server(settings.model(name)) as server:
            result[name] = measure(server)
    return result
