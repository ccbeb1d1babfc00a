"""What is measured in a round of each leg. Both sides of a comparison run in turn, the other way round every second
round. A leg gives plain data; report.py makes tables of it."""

import contextlib
import dataclasses
import functools
import json
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from . import programs, queueing
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
# Pictures of 8x8 pixels, which the model takes as they are: next to nothing but serving is left.
SMALL, LARGE = "246B.bmp", "100kB.bmp"
UNARY_CASES: dict[str, Sequence[str]] = {LONE_CASE: ["--concurrency=1"], "unary, 16 at a time": SATURATING}
OVERHEAD_CASES: dict[str, dict[str, Sequence[str]]] = {
    LARGE: UNARY_CASES | {"stream": SERVING_CASES["stream"]},
    SMALL: UNARY_CASES
    | {
        "unary, 16 images a request": SERVING_CASES["unary, 16 images a request"],
        "stream": SERVING_CASES["stream"],
        "stream, 256 images on their way": ["--stream", "--concurrency=256", "--channels=2"],
    },
}
BITMAP_SIDE = 8
IDLE_GAP_SECONDS = 1.05
# Lines of /proc/PID/status.
MEMORY_LINES = {"peak": "VmHWM", "own": "RssAnon", "files": "RssFile"}
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


def after_idle_gaps(settings: Settings, server: Server, picture: pathlib.Path) -> Data:
    """One request at a time, each after a second in which nothing happened."""
    return programs.load(
        server,
        "--concurrency=1",
        f"--idle_gap={IDLE_GAP_SECONDS}s",
        f"--requests={settings.idle_requests}",
        picture,
    )


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
            result["idle"] = after_idle_gaps(settings, server, programs.picture())
            result["floor"] = programs.idle_floor(programs.picture(), IDLE_GAP_SECONDS, settings.idle_requests)
    return result


def overhead(settings: Settings, number: int) -> Data:
    """Pictures that take next to nothing to decode, of the size that the model takes: what is left is serving."""
    duration = f"--duration={settings.seconds}s"
    side = f"--input_side={BITMAP_SIDE}"
    result: Data = {"cases": {}}
    with programs.null_server(side) as server:
        for name in in_turn(OVERHEAD_CASES, number):
            picture = programs.bitmap(name)
            programs.warm_up(server, picture)
            cases = OVERHEAD_CASES[name]
            result["cases"][name] = {
                case: programs.load(server, duration, *cases[case], picture) for case in in_turn(cases, number)
            }
        if number == 0 and settings.idle_requests:
            result["idle"] = after_idle_gaps(settings, server, programs.bitmap(LARGE))
    if settings.cores > 1:
        with programs.null_server(side, core=0) as server, programs.on_core(1):
            programs.warm_up(server, programs.bitmap(SMALL))
            cases = OVERHEAD_CASES[SMALL]
            result["one_core"] = {
                case: programs.load(server, duration, *cases[case], programs.bitmap(SMALL))
                for case in in_turn(cases, number)
            }
    return result


def peak_and_open_loop(settings: Settings, server: Server, number: int, loads: Sequence[float]) -> Data:
    """The closed loop's rate, and an open loop at shares of it."""
    duration = f"--duration={settings.seconds}s"
    programs.warm_up(server, programs.picture())
    peak = programs.load(server, *SATURATING, duration, programs.picture())
    rate = peak["images_per_second"]

    def open_loop_at(share: float) -> Data:
        arrivals = (f"--rate={share * rate}", f"--seed={number}", duration)
        report = programs.load(server, *arrivals, "--channels=2", programs.picture())
        # By the number of servers: all cores on one image, or a core on each.
        report["queue_histograms_ms"] = {str(servers): [] for servers in sorted({1, settings.cores})}
        if rate:
            due = programs.arrival_times(*arrivals)
            for servers in (1, settings.cores):
                times = queueing.responses(due, servers / rate, servers)
                report["queue_histograms_ms"][str(servers)] = queueing.histogram(1000 * times)
        return report

    return {"peak": peak, "open": {str(share): open_loop_at(share) for share in in_turn(loads, number)}}


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


def timed_start(directory: pathlib.Path, start: Callable[[], contextlib.AbstractContextManager[Server]]) -> Data:
    """From exec to the word that it is ready, with the model's files and the program's in the page cache."""
    for path in directory.iterdir():
        path.read_bytes()
    begin = time.monotonic()
    with start() as server:
        seconds = time.monotonic() - begin
        cpu = server.cpu_seconds()
        memory = {what: server.memory_mb(line) for what, line in MEMORY_LINES.items()}
        first = programs.load(server, "--requests=1", "--concurrency=1", programs.picture())
    return {"seconds": seconds, "cpu_seconds": cpu, "first_ms": first["latency_ms"]["max"], "memory_mb": memory}


def weights_mb(directory: pathlib.Path) -> float:
    return sum(path.stat().st_size for path in directory.glob("*.safetensors")) / 1e6


def start(settings: Settings, number: int) -> Data:
    """How long a server takes until it serves. A start that is not timed brings its files into the page cache."""
    result: Data = {}
    for name in in_turn(settings.models, number):
        directory = settings.model(name)
        with programs.pixembed_server(directory):
            pass
        case = timed_start(directory, functools.partial(programs.pixembed_server, directory))
        result[name] = {"weights_mb": weights_mb(directory), "pixembed": case}
    return result


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
