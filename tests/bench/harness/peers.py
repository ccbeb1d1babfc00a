"""The legs with what users would compare with: other runtimes' bare forward, and a Python server of the same calls."""

import contextlib
import dataclasses
import functools
import os
import pathlib
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import parity, programs, report
from .document import Heading, Part, Table, Text
from .intervals import Estimate
from .legs import in_turn, peak_and_open_loop, timed_start, weights_mb
from .settings import OUT, RELEASE, ROOT, Settings

Data = dict[str, Any]

FOLDER = ROOT / "tests/bench/peers"
BACKENDS = ("torch", "torch-compile", "onnxruntime", "openvino", "onnxruntime-int8")
BATCHES = (1, 8)
OURS = "pixembed"
# As it serves under load: a batch on each core.
OURS_LOADED = "pixembed, a batch a core"
SERVED_LOADS = (0.7,)


def python() -> pathlib.Path:
    """The peers' Python; `run.sh peers` makes it."""
    return pathlib.Path(os.environ["PIXEMBED_CACHE"]) / "bench-peers/bin/python"


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no output"])[-1][:300]


def bare_peer(settings: Settings, model: str, backend: str) -> Data:
    """{"1": rates, "8": rates}; {"error": ...} of one that cannot run here, which is a result too."""
    command = [
        python(),
        FOLDER / "forward.py",
        backend,
        settings.model(model),
        OUT / "peers" / model,
        f"--batches={','.join(map(str, BATCHES))}",
        f"--threads={settings.cores}",
        f"--seconds={settings.seconds}",
    ]
    done = subprocess.run([str(word) for word in command], check=False, text=True, capture_output=True)
    if done.returncode:
        return {"error": last_line(done.stderr)}
    return {str(row["batch"]): row for row in programs.json_lines(done.stdout)}


def bare_ours(settings: Settings, model: str, shape: str) -> Data:
    """As bare_peer; `shape` is WORKERSxTHREADS."""
    lines = programs.json_lines(
        programs.run(
            RELEASE / "bench/forward_benchmark",
            settings.model(model),
            f"--shapes={shape}",
            f"--batches={','.join(map(str, BATCHES))}",
            f"--seconds={settings.seconds}",
        )
    )
    return {str(line["batch"]): line for line in lines}


def forward(settings: Settings, number: int) -> Data:
    """The bare forward of each runtime on all cores, one batch after the other, batches of 1 and 8."""

    def measure(model: str, runtime: str) -> Data:
        if runtime == OURS:
            return bare_ours(settings, model, f"1x{settings.cores}")
        if runtime == OURS_LOADED:
            return bare_ours(settings, model, f"{settings.cores}x1")
        return bare_peer(settings, model, runtime)

    return {
        model: {runtime: measure(model, runtime) for runtime in in_turn((OURS, OURS_LOADED, *BACKENDS), number)}
        for model in settings.peer_models
    }


def peer_server(settings: Settings, model: str, workers: int) -> contextlib.AbstractContextManager[programs.Server]:
    return programs.serving(
        python(),
        FOLDER / "grpcio_server.py",
        settings.model(model),
        f"--workers={workers}",
        f"--threads={max(1, settings.cores // workers)}",
        environment={"PYTHONPATH": str(ROOT / "client/python/src")},
    )


def served(settings: Settings, number: int) -> Data:
    """JPEGs in, vectors out: pixembed and the Python server, each with its own peak and an open loop at 70 % of it.

    Both with Pillow's processor. In the first round the vectors of all are compared with the reference's.
    """
    cores = settings.cores
    workers = {f"grpcio, {n} {'worker' if n == 1 else 'workers'} x {cores // n} threads": n for n in sorted({1, cores})}

    def start(model: str, case: str) -> contextlib.AbstractContextManager[programs.Server]:
        if case == "pixembed":
            return programs.pixembed_server(settings.model(model), "--backend=pil")
        return peer_server(settings, model, workers[case])

    def measure(model: str, server: programs.Server) -> Data:
        data: Data = {}
        if number == 0:
            data["parity"] = dataclasses.asdict(parity.check(server, settings.model(model), "pil"))
        duration = f"--duration={settings.seconds}s"
        data["lone"] = programs.load(server, "--concurrency=1", duration, programs.picture())
        return data | peak_and_open_loop(settings, server, number, SERVED_LOADS)

    result: Data = {}
    for model in settings.peer_models:
        result[model] = {}
        for case in in_turn(("pixembed", *workers), number):
            with start(model, case) as server:
                result[model][case] = measure(model, server)
    return result


def start(settings: Settings, number: int) -> Data:
    """As legs.start, with the Python server beside pixembed: one worker that has all cores."""
    result: Data = {}
    for model in settings.peer_models:
        directory = settings.model(model)
        servers: dict[str, Callable[[], contextlib.AbstractContextManager[programs.Server]]] = {
            "pixembed": functools.partial(programs.pixembed_server, directory, "--backend=pil"),
            "grpcio": functools.partial(peer_server, settings, model, 1),
        }
        result[model] = {"weights_mb": weights_mb(directory)}
        for case in in_turn(servers, number):
            with servers[case]():
                pass
            result[model][case] = timed_start(directory, servers[case])
    return result


def forward_parts(rounds: Sequence[Data], limit: float, gflop: Mapping[str, float]) -> list[Part]:
    def rows(model: str, backend: str) -> list[list[str]]:
        cases = [data[model] for data in rounds]
        if errors := [data[backend]["error"] for data in cases if "error" in data[backend]]:
            return [[report.name(model), backend, "–", f"does not run here: {errors[0]}", *[""] * 4]]
        return [row(model, backend, batch, cases) for batch in map(str, BATCHES)]

    def row(model: str, backend: str, batch: str, cases: Sequence[Data]) -> list[str]:
        lines = [data[backend][batch] for data in cases]
        lead = report.of(cases, lambda d: divided(d, OURS, backend, batch))
        cosines = [line["smallest_cosine"] for line in lines if "smallest_cosine" in line]
        return [
            *report.rate_row([report.name(model), backend, batch], lines, gflop[model] / limit),
            "1" if backend == OURS else report.ratio(lead),
            f"{min(cosines):.6f}" if cosines else "–",
        ]

    def divided(data: Data, one: str, other: str, batch: str) -> float:
        rate = "images_per_second"
        return float(data[one][batch][rate]) / float(data[other][batch][rate])

    head = ["model", "runtime", "batch", "images a second", "images a CPU second", "share of the limit"]
    return [
        Heading("Bare forward of other runtimes"),
        Text(
            "On all cores, one batch after the other (in the second row one on each core), to the mean-pooled vector. "
            "Last column: smallest cosine with torch's vectors on the same pixels; below 0.9999 it is not the same "
            "work. pixembed's vectors are those of the parity gate."
        ),
        Table(
            [*head, "pixembed / it", "cosine"],
            [
                line
                for model in rounds[0]
                for backend in (OURS, OURS_LOADED, *BACKENDS)
                for line in rows(model, backend)
            ],
        ),
    ]


def served_parts(rounds: Sequence[Data], cores: int) -> list[Part]:
    rows = []
    curves: list[Part] = []
    for model in rounds[0]:
        cases = [data[model] for data in rounds]
        for case in sorted(cases[0], key=lambda case: (case != "pixembed", case)):
            mine = [data[case] for data in cases]
            gate = next((data["parity"] for data in mine if "parity" in data), None)
            rows.append(
                [
                    report.name(model),
                    case,
                    report.cell(report.of(mine, lambda d: d["peak"]["images_per_second"])),
                    report.cell(report.of(mine, lambda d: d["peak"]["images_per_cpu_second"])),
                    report.cell(report.of(mine, lambda d: d["lone"]["latency_ms"]["p50"])),
                    "1" if case == "pixembed" else report.ratio(_lead(cases, case, "images_per_second")),
                    "1" if case == "pixembed" else report.ratio(_lead(cases, case, "images_per_cpu_second")),
                    gate_text(parity.Parity(**gate)) if gate else "–",
                ]
            )
            curves += report.open_loop_parts(f"{report.name(model)}, {case}", mine, cores)
    head = [
        "model",
        "server",
        "images a second",
        "images a CPU second",
        "lone p50, ms",
        "pixembed / it",
        "a CPU second",
    ]
    return [
        Heading("A Python server of the same calls"),
        Text(
            "JPEGs in, vectors out, Pillow's processor on both sides, the same client on the same cores. Last column: "
            "largest difference from the reference's vectors with Pillow's processor."
        ),
        Table([*head, "difference"], rows),
        *curves,
    ]


def gate_text(gate: parity.Parity) -> str:
    return f"{gate.largest_difference:.1e}" + ("" if gate.holds() else ", not the same work")


def _lead(cases: Sequence[Data], case: str, rate: str) -> Estimate:
    return report.of(cases, lambda d: d["pixembed"]["peak"][rate] / d[case]["peak"][rate])
