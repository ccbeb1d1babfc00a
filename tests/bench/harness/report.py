"""Tables and curves of what was measured. Pure: raw results in, parts of a document out."""

import functools
import json
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from . import chart, queueing
from .document import Drawing, Heading, Part, Table, Text
from .intervals import Estimate, add_histograms, estimate, percentile
from .legs import IDLE_GAP_SECONDS, LARGE, LONE_CASE, MEMORY_LINES, OVERHEAD_CASES, SERVING_CASES, SMALL

Data = dict[str, Any]
Get = Callable[[Data], float]

NAMES = {"vit-b16": "ViT-B/16", "vit-ti16": "ViT-Ti/16", "null": "no model"}
# Of fewer requests a 99th percentile is one of the two longest waits, and is not shown.
LEAST_FOR_P99 = 200
GRID = [i / 100 for i in range(5, 91, 5)]


def number(value: float) -> str:
    """Three significant digits, as people write them."""
    return f"{float(f'{value:.3g}'):,g}"


def cell(value: Estimate) -> str:
    """median (95 % interval)"""
    return f"{number(value.median)} ({number(value.low)}–{number(value.high)})"


def ratio(value: Estimate) -> str:
    """As cell; * where the interval does not hold 1."""
    return cell(value) + (" *" if value.excludes(1.0) else "")


def divide(one: float, other: float) -> float:
    """NaN where there is nothing to divide by: a leg too short for a single request."""
    return one / other if other else float("nan")


def of(rounds: Iterable[Data], get: Get) -> Estimate:
    return estimate([get(data) for data in rounds])


def name(model: str) -> str:
    return NAMES.get(model, model)


def gflop_per_image(model: pathlib.Path) -> float:
    """Of a plain ViT: patch embedding, four projections and two of the MLP a layer, attention; a multiply-add is 2.

    NaN of another architecture.
    """
    config = json.loads((model / "config.json").read_text())
    if config["model_type"] != "vit":
        return float("nan")
    hidden, layers, mlp = (
        config["hidden_size"],
        config["num_hidden_layers"],
        config["intermediate_size"],
    )
    patches = (config["image_size"] // config["patch_size"]) ** 2
    tokens = patches + 1
    embed = patches * config["num_channels"] * config["patch_size"] ** 2 * hidden
    layer = tokens * hidden * (4 * hidden + 2 * mlp) + 2 * tokens * tokens * hidden
    return float(2e-9 * (embed + layers * layer))


@functools.cache
def predicted(load: float, servers: int) -> queueing.Prediction:
    """In service times."""
    return queueing.predict(load, 1.0, servers)


def preprocess(rounds: Sequence[Data]) -> list[Part]:
    def row(case: str) -> list[str]:
        return [
            case,
            cell(of(rounds, lambda d: d["ours_ms"][case])),
            cell(of(rounds, lambda d: d["reference_ms"][case])),
            ratio(of(rounds, lambda d: d["reference_ms"][case] / d["ours_ms"][case])),
        ]

    head = ["JPEG / backend", "ours", "Pillow + transformers", "times as fast"]
    return [
        Heading("Decode + preprocess, one core, ms an image"),
        Table(head, [row(case) for case in sorted(rounds[0]["ours_ms"])]),
    ]


def best_bare(data: Data, rate: str) -> float:
    return max(float(line[rate]) for line in data["bare"].values())


def rate_row(words: Sequence[str], lines: Sequence[Data], share: float) -> list[str]:
    """Wall rate, rate a CPU second and share of the limit, which is `share` times the wall rate."""
    return [
        *words,
        cell(of(lines, lambda d: d["images_per_second"])),
        cell(of(lines, lambda d: d["images_per_cpu_second"])),
        cell(of(lines, lambda d: d["images_per_second"] * share)),
    ]


def efficiency_row(model: str, cases: Sequence[Data]) -> list[str]:
    """Served over bare, and what it takes."""

    def efficiency(rate: str) -> Estimate:
        return of(cases, lambda d: d["served"][rate] / best_bare(d, rate))

    return [
        name(model),
        ratio(efficiency("images_per_second")),
        ratio(efficiency("images_per_cpu_second")),
        cell(of(cases, lambda d: d["served"]["client_cpu_us_per_image"])),
        cell(of(cases, lambda d: d["served"]["server_memory_mb"])),
    ]


def lone_row(model: str, cases: Sequence[Data]) -> list[str]:
    """A lone request beside one image on all cores."""
    shape = next(shape for shape in cases[0]["bare"] if shape.startswith("1x") and shape.endswith("x1"))

    def bare(data: Data) -> float:
        return 1000 / float(data["bare"][shape]["images_per_second"])

    def served(data: Data) -> float:
        return float(data["lone"]["latency_ms"]["p50"])

    return [
        name(model),
        cell(of(cases, served)),
        cell(of(cases, bare)),
        ratio(of(cases, lambda d: served(d) / bare(d))),
    ]


def forward(rounds: Sequence[Data], limit: float, gflop: Mapping[str, float]) -> list[Part]:
    """`limit`: GFLOPS of the machine."""
    rates, efficiencies, alone = [], [], []
    for model in rounds[0]:
        cases = [data[model] for data in rounds]
        share = gflop[model] / limit
        for shape in sorted(cases[0]["bare"]):
            rates.append(rate_row([name(model), f"bare {shape}"], [data["bare"][shape] for data in cases], share))
        rates.append(rate_row([name(model), "served"], [data["served"] for data in cases], share))
        efficiencies.append(efficiency_row(model, cases))
        alone.append(lone_row(model, cases))
    return [
        Heading("Forward and served"),
        Text(
            "Bare: workers x threads x batch, the same code, no gRPC, no decoding. Served: 640x480 JPEGs over "
            "loopback, 16 at a time, the client on the same cores. Limit: fused multiply-adds between registers on all "
            f"cores, {number(limit)} GFLOPS, the best of this run."
        ),
        Table(["model", "what", "images a second", "images a CPU second", "share of the limit"], rates),
        Text("Served over the best bare shape of the same round; * where the interval does not hold 1."),
        Table(
            ["model", "rate", "rate a CPU second", "client's CPU, µs an image", "server's peak memory, MB"],
            efficiencies,
        ),
        Text("A lone request, one at a time, beside the bare forward of one image on all cores."),
        Table(["model", "lone p50, ms", "bare, ms", "lone / bare"], alone),
    ]


LOAD_HEAD = ["load", "images a second", "server CPU, µs an image", "client CPU, µs an image", "p50, ms", "p99, ms"]


def load_row(words: Sequence[str], reports: Sequence[Data]) -> list[str]:
    """Under LOAD_HEAD."""
    return [
        *words,
        cell(of(reports, lambda r: r["images_per_second"])),
        cell(of(reports, lambda r: r["server_cpu_us_per_image"])),
        cell(of(reports, lambda r: r["client_cpu_us_per_image"])),
        cell(of(reports, lambda r: r["latency_ms"]["p50"])),
        cell(of(reports, lambda r: r["latency_ms"]["p99"])),
    ]


def idle_text(rounds: Sequence[Data], lone: Callable[[Data], Data]) -> list[Part]:
    """Of the round that has it; `lone`: a round's report of requests back to back."""
    idle = next((data["idle"] for data in rounds if "idle" in data), None)
    if idle is None:
        return []
    busy = of(rounds, lambda d: lone(d)["latency_ms"]["p99"])
    return [
        Text(
            f"Idle gap: {idle['requests']} requests, one every {IDLE_GAP_SECONDS} s: p50 "
            f"{idle['latency_ms']['p50']:.2f} ms, p99 {idle['latency_ms']['p99']:.2f} ms; back to back: p99 "
            f"{busy.median:.2f} ms."
        )
    ]


def floor_parts(rounds: Sequence[Data]) -> list[Part]:
    """What the machine takes for an idle gap by itself."""
    floor = next((data["floor"] for data in rounds if "floor" in data), None)
    if floor is None:
        return []
    names = {
        "wake": "one thread wakes another",
        "decode": "decode and resize",
        "arithmetic": "multiply-adds between registers",
        "memory": "a number written to each of 1,024 pages",
        "total": "five threads hand a picture on, one decodes it",
    }

    def row(what: str) -> list[str]:
        idle, busy = floor["idle"][what], floor["busy"][what]
        values = (idle["p50"], busy["p50"], idle["p99"], busy["p99"])
        return [names[what], *(number(value / 1000) for value in values), number(divide(idle["p50"], busy["p50"]))]

    head = ["without a server (idle_floor)", "p50 after a gap, ms", "back to back", "p99 after a gap, ms"]
    hand_over = floor["hand_over"]
    return [
        Table([*head, "back to back", "p50 / p50"], [row(what) for what in names]),
        Text(
            f"A hand-over from thread to thread, back to back: {number(hand_over['wall'])} µs, and "
            f"{number(hand_over['cpu'])} µs of CPU."
        ),
    ]


def serving(rounds: Sequence[Data]) -> list[Part]:
    return [
        Heading("Serving alone: a model that computes nothing"),
        Text("640x480 JPEGs, decoded and resized as always."),
        Table(LOAD_HEAD, [load_row([case], [data["cases"][case] for data in rounds]) for case in SERVING_CASES]),
        *idle_text(rounds, lambda d: d["cases"][LONE_CASE]),
        *floor_parts(rounds),
    ]


def overhead(rounds: Sequence[Data]) -> list[Part]:
    def row(picture: str, case: str) -> list[str]:
        return load_row([picture, case], [data["cases"][picture][case] for data in rounds])

    pairs = [(picture, case) for picture, cases in OVERHEAD_CASES.items() for case in cases]
    parts: list[Part] = [
        Heading("Serving alone: nothing to decode and nothing to compute"),
        Text(
            "Bitmaps of 8x8 pixels, which the model takes as they are; the pixels of 100kB.bmp lie at the end of "
            "100,000 bytes. The client on the same cores."
        ),
        Table(["picture", *LOAD_HEAD], [row(*pair) for pair in pairs]),
        *idle_text(rounds, lambda d: d["cases"][LARGE][LONE_CASE]),
    ]
    if all("one_core" in data for data in rounds):
        parts += [
            Text(f"The server on one core, its client on another; {SMALL}."),
            Table(
                LOAD_HEAD, [load_row([case], [d["one_core"][case] for d in rounds]) for case in OVERHEAD_CASES[SMALL]]
            ),
        ]
    return parts


def start(rounds: Sequence[Data], title: str = "Start") -> list[Part]:
    """Of both legs: rounds of {model: {"weights_mb": ..., server: case}}."""

    def row(model: str, server: str) -> list[str]:
        cases = [data[model][server] for data in rounds]
        lead = of(rounds, lambda d: d[model][server]["seconds"] / d[model]["pixembed"]["seconds"])
        return [
            name(model),
            server,
            cell(of(cases, lambda d: d["seconds"])),
            cell(of(cases, lambda d: d["cpu_seconds"])),
            cell(of(cases, lambda d: d["first_ms"])),
            *(cell(of(cases, lambda d, what=what: d["memory_mb"][what])) for what in MEMORY_LINES),  # type: ignore[misc]
            number(rounds[0][model]["weights_mb"]),
            "1" if server == "pixembed" else ratio(lead),
        ]

    servers = [(model, server) for model in rounds[0] for server in rounds[0][model] if server != "weights_mb"]
    head = [
        "model",
        "server",
        "ready after, s",
        "CPU, s",
        "first request, ms",
        "peak memory, MB",
        "its own when ready, MB",
    ]
    return [
        Heading(title),
        Text(
            "From exec to the word that it is ready, the model's files and the program's in the page cache. The first "
            "request is of a 640x480 JPEG."
        ),
        Table(
            [*head, "of files, MB", "weights, MB", "it / pixembed"],
            [row(*pair) for pair in sorted(servers, key=lambda pair: (pair[0], pair[1] != "pixembed"))],
        ),
    ]


def _pooled(histograms: Iterable[Sequence[Sequence[float]]]) -> tuple[int, float, float | None]:
    """Requests, p50 and p99 over all rounds; no p99 of few requests."""
    histogram = add_histograms(histograms)
    count = sum(n for _, n in histogram)
    return (
        count,
        percentile(histogram, 0.5),
        percentile(histogram, 0.99) if count >= LEAST_FOR_P99 else None,
    )


def _measured(reports: Sequence[Data]) -> tuple[int, float, float | None]:
    return _pooled(report["latency_histogram_ms"] for report in reports)


def _queued(reports: Sequence[Data], servers: int) -> tuple[int, float, float | None]:
    """What the arrivals of these rounds would have taken in an M/D/c queue of each round's peak."""
    return _pooled(report["queue_histograms_ms"][str(servers)] for report in reports)


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else number(value)


def open_loop_parts(what: str, cases: Sequence[Data], cores: int) -> list[Part]:
    """Latency against load: `cases` are rounds of legs.peak_and_open_loop."""
    peak = of(cases, lambda d: d["peak"]["images_per_second"])
    shares = sorted(cases[0]["open"], key=float)
    reports = {float(share): [data["open"][share] for data in cases] for share in shares}
    # All cores on one image, or a core on each: the measured peak says how long one takes, in ms.
    service = {servers: divide(1000 * servers, peak.median) for servers in sorted({1, cores})}

    def row(load: float) -> list[str]:
        count, p50, p99 = _measured(reports[load])
        queues = [_queued(reports[load], c) for c in service]
        longest = queues[-1][2]
        return [
            f"{100 * load:.0f} %",
            cell(of(reports[load], lambda r: r["images_per_second"])),
            str(count),
            number(p50),
            *(number(median) for _, median, _ in queues),
            _milliseconds(p99),
            *(_milliseconds(slow) for _, _, slow in queues),
            "–" if p99 is None or longest is None else number(p99 / longest),
            str(sum(r["refused"] + r["dropped"] + sum(r["failed_images"].values()) for r in reports[load])),
            number(max(r["send_delay_ms"]["p99"] for r in reports[load])),
            cell(of(reports[load], lambda r: r["images_per_cpu_second"])),
        ]

    head = ["load", "images a second", "requests"]
    head += ["p50, ms", *(f"by M/D/{c}" for c in service), "p99, ms", *(f"by M/D/{c}" for c in service)]
    head += [f"p99 / M/D/{cores}", "lost", "sent late, p99, ms", "images a CPU second"]
    lines = [*measured_curves(reports), *predicted_curves(service)]
    return [
        Heading(f"{what}: peak {cell(peak)} images a second", 3),
        Table(head, [row(load) for load in reports]),
        Drawing(chart.curves(f"{what}: latency against load", "load, % of the own peak", "latency, ms", lines)),
    ]


def predicted_ms(load: float, servers: int, percent: str, service_ms: float) -> float:
    """Infinite where the line grows for ever."""
    return service_ms * float(getattr(predicted(load, servers), percent)) if load < 1 else float("inf")


def measured_curves(reports: Mapping[float, Sequence[Data]]) -> list[chart.Curve]:
    """p50 and p99 by load, pooled over the rounds, with the intervals over the rounds."""
    lines = []
    for colour, percent in enumerate(("p50", "p99")):
        points, intervals = [], []
        for load, rounds in reports.items():
            _, p50, p99 = _measured(rounds)
            value = p50 if percent == "p50" else p99
            if value is not None and math.isfinite(value):
                interval = estimate([report["latency_ms"][percent] for report in rounds])
                points.append((100 * load, value))
                intervals.append((interval.low, interval.high))
        if points:
            lines.append(chart.Curve(f"{percent} measured", points, colour, intervals=intervals))
    return lines


def predicted_curves(service: Mapping[int, float]) -> list[chart.Curve]:
    return [
        chart.Curve(
            f"{percent} by M/D/{servers}",
            [(100 * load, predicted_ms(load, servers, percent, time)) for load in GRID],
            2 * i + colour,
            dashed=True,
        )
        for i, (servers, time) in enumerate(service.items())
        if math.isfinite(time)
        for colour, percent in enumerate(("p50", "p99"))
    ]


OPEN_LOOP_TEXT = (
    "Poisson arrivals at a share of the peak that a closed loop of 16 reached just before; latency from when a request "
    "was due, pooled over the rounds. M/D/c: what these very arrivals would have taken in one line for c servers of "
    "the constant service time c / peak, without network, scheduling or batches, decoding being part of the service "
    "time (harness/queueing.py); dashed in the drawings: what queueing theory says of ever so many arrivals. "
    f"A p99 of fewer than {LEAST_FOR_P99} requests is not shown. Lost: refused, dropped or out of time. Sent late: the "
    "generator's own delay, which is in the latency."
)


def open_loop(rounds: Sequence[Data], cores: int) -> list[Part]:
    parts: list[Part] = [Heading("Open loop: latency against load"), Text(OPEN_LOOP_TEXT)]
    for target in rounds[0]:
        parts += open_loop_parts(name(target), [data[target] for data in rounds], cores)
    return parts


def bulk(rounds: Sequence[Data]) -> list[Part]:
    def rows(model: str) -> list[list[str]]:
        cases = [data[model] for data in rounds]
        sides = {side: [data[side]["online"] for data in cases] for side in ("alone", "with_bulk")}

        def words(side: str) -> list[str]:
            count, p50, p99 = _measured(sides[side])
            return [str(count), number(p50), _milliseconds(p99), cell(of(sides[side], p99_of_round))]

        def p99_of_round(report: Data) -> float:
            return float(report["latency_ms"]["p99"])

        change = of(cases, lambda d: divide(*(p99_of_round(d[side]["online"]) for side in ("with_bulk", "alone"))))
        filled = of(cases, lambda d: d["with_bulk"]["bulk"]["images_per_second"])
        return [
            [name(model), "online alone", *words("alone"), "–", "–"],
            [name(model), "with a bulk stream", *words("with_bulk"), cell(filled), ratio(change)],
        ]

    head = ["model", "what", "requests", "p50, ms", "p99, ms", "p99 of a round, ms", "bulk, images a second"]
    return [
        Heading("Online latency beside a bulk job"),
        Text(
            "An open loop at 50 % of the peak in the lane online, with and without an EmbedStream of 64 images in the "
            "lane bulk on the same server. The same seed on both sides: the same arrivals."
        ),
        Table([*head, "p99 with / without"], [row for model in rounds[0] for row in rows(model)]),
    ]


def machine() -> str:
    cpuinfo = pathlib.Path("/proc/cpuinfo").read_text()
    cpu = next(line.split(":")[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name"))
    isa = "AVX-512" if "avx512f" in cpuinfo else "AVX2" if "avx2" in cpuinfo else "no AVX2"
    return f"{len(os.sched_getaffinity(0))} x {cpu} ({isa})"
