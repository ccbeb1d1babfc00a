#!/usr/bin/env python3
"""Runs the benchmark legs and writes the report. Called by tests/bench/run.sh, which builds what it needs.

Both sides of every comparison run in turn, round by round; ratios are taken within a round, and their median and
range reported. Servers listen on loopback and are ended by the leg that started them.
"""

import contextlib
import datetime
import json
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
RELEASE = ROOT / "build/release"
OUT = ROOT / "build/bench"
CACHE = pathlib.Path(os.environ["PIXEMBED_CACHE"])
ROUNDS = int(os.environ.get("PIXEMBED_BENCH_ROUNDS", "5"))
SECONDS = int(os.environ.get("PIXEMBED_BENCH_SECONDS", "10"))
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# Bare shapes: workers x threads x batch. The best of them is the bar for the served rate.
SHAPES = [(2, 1, 1), (2, 1, 4), (1, 2, 1), (1, 2, 4)]
OURS = "decode+preprocess/"
ARCHITECTURES = {"vit-b16": "ViT-B/16", "vit-ti16": "ViT-Ti/16"}
IDLE_GAP_SECONDS = 1.05
IDLE_GAP_REQUESTS = 100


def run(*command):
    """The standard output of a command that must succeed."""
    return subprocess.run([str(word) for word in command], check=True, text=True, stdout=subprocess.PIPE).stdout


@contextlib.contextmanager
def server(*command):
    """Starts a server; gives its address and process; ends it with SIGTERM."""
    log = OUT / f"{pathlib.Path(command[0]).name}.log"
    with log.open("w") as sink:
        process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   text=True)
        try:
            address = None
            for line in process.stdout:
                sink.write(line)
                if match := re.search(r"(?:listening|serving on) (\S+)", line):
                    address = match.group(1)
                    break
            if address is None:
                raise RuntimeError(f"{command[0]} did not start: see {log}")
            yield address, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            sink.write(process.communicate(timeout=60)[0])
        if process.returncode:
            raise RuntimeError(f"{command[0]} exited with {process.returncode}: see {log}")


def cpu_seconds(pid):
    """User and system time of a process so far."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def load(address, pid, *flags):
    """`pixembed load`: its report, with the server's CPU time of the run."""
    before = cpu_seconds(pid)
    report = json.loads(run(RELEASE / "bin/pixembed", "load", f"--address={address}", "--json", *flags))
    report["server_cpu_us_per_image"] = (cpu_seconds(pid) - before) / max(report["images"], 1) * 1e6
    return report


def pictures():
    """The folder of the pictures that every leg uses."""
    folder = OUT / "pictures"
    if not folder.exists():
        run(sys.executable, ROOT / "tests/bench/make_pictures.py", folder)
    return folder


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "rounds": len(values)}


def leg_preprocess():
    """Decode + preprocess, milliseconds an image on one core, ours and the reference's."""
    rows = {}
    for _ in range(ROUNDS):
        os.environ["PIXEMBED_BENCH_PICTURES"] = str(pictures())
        ours = {row["name"].removeprefix(OURS): row["real_time"] for row in json.loads(run(
            RELEASE / "bench/preprocess_benchmark", f"--benchmark_filter=^{re.escape(OURS)}",
            "--benchmark_format=json"))["benchmarks"]}
        reference = json.loads(run(sys.executable, ROOT / "tests/bench/reference_preprocess.py", pictures()))
        for case, milliseconds in ours.items():
            rows.setdefault(case, []).append((milliseconds, reference[case]["decode+preprocess"]))
    return [{"case": case, "ours_ms": spread([o for o, _ in pairs]), "reference_ms": spread([r for _, r in pairs]),
             "ratio": spread([r / o for o, r in pairs])} for case, pairs in rows.items()]


def bare(model):
    """Images a second of every shape: {(workers, threads, batch): rate}."""
    lines = run(RELEASE / "bench/forward_benchmark", model, "--shapes=2x1,1x2", "--batches=1,4",
                f"--seconds={SECONDS}").splitlines()
    return {(*map(int, row["shape"].split("x")), row["batch"]): row["images_per_second"]
            for row in map(json.loads, lines)}


def leg_forward():
    """Bare forward, served throughput and lone-request latency, with JPEGs on the wire."""
    rows = []
    for architecture, name in ARCHITECTURES.items():
        model = CACHE / "models" / architecture
        images = [pictures() / "640x480.jpg"]
        shapes = {shape: [] for shape in SHAPES}
        served, ratios, lone, lone_bare = [], [], [], []
        with server(RELEASE / "bin/pixembed-server", f"--model={model}", "--listen=127.0.0.1:0") as (address, pid):
            for _ in range(ROUNDS):
                round_bare = bare(model)
                for shape, rate in round_bare.items():
                    shapes[shape].append(rate)
                loaded = load(address, pid, "--concurrency=16", f"--duration={SECONDS}s", *images)
                served.append(loaded)
                ratios.append(loaded["images_per_second"] / max(round_bare.values()))
                lone_bare.append(1000 / round_bare[(1, 2, 1)])
                lone.append(load(address, pid, "--concurrency=1", f"--duration={SECONDS}s", *images))
        rows.append({
            "model": name,
            "bare": {"x".join(map(str, shape)): spread(rates) for shape, rates in shapes.items()},
            "served": spread([r["images_per_second"] for r in served]),
            "served_over_bare": spread(ratios),
            "lone_p50_ms": spread([r["latency_ms"]["p50"] for r in lone]),
            "lone_bare_ms": spread(lone_bare),
            "server_cpu_ms_per_image": spread([r["server_cpu_us_per_image"] / 1000 for r in served]),
        })
    return rows


def leg_serving():
    """A model that computes nothing: microseconds of server CPU an image, rates, and the idle gap."""
    images = [pictures() / "640x480.jpg"]
    with server(RELEASE / "bench/null_server") as (address, pid):
        cases = {
            "unary, 1 at a time": ["--concurrency=1"],
            "unary, 16 at a time": ["--concurrency=16", "--channels=2"],
            "unary, 16 images a request": ["--concurrency=4", "--images_per_request=16", "--channels=2"],
            "stream": ["--stream", "--concurrency=64", "--channels=2"],
        }
        rows = {case: [] for case in cases}
        for _ in range(ROUNDS):
            for case, flags in cases.items():
                rows[case].append(load(address, pid, f"--duration={SECONDS}s", *flags, *images))
        busy = [r["latency_ms"]["p99"] for r in rows["unary, 1 at a time"]]
        idle = load(address, pid, "--concurrency=1", f"--idle_gap={IDLE_GAP_SECONDS}s",
                    f"--requests={IDLE_GAP_REQUESTS}", *images)
    return {
        "cases": [{"case": case, "images_per_second": spread([r["images_per_second"] for r in reports]),
                   "server_cpu_us_per_image": spread([r["server_cpu_us_per_image"] for r in reports]),
                   "p50_ms": spread([r["latency_ms"]["p50"] for r in reports]),
                   "p99_ms": spread([r["latency_ms"]["p99"] for r in reports])} for case, reports in rows.items()],
        "idle_gap": {"gap_s": IDLE_GAP_SECONDS, "requests": IDLE_GAP_REQUESTS, "p50_ms": idle["latency_ms"]["p50"],
                     "p99_ms": idle["latency_ms"]["p99"], "busy_p99_ms": statistics.median(busy)},
    }


LEGS = {"preprocess": leg_preprocess, "forward": leg_forward, "serving": leg_serving}


def number(value):
    """Three significant digits, as people write them."""
    return f"{float(f'{value:.3g}'):,g}"


def cell(value):
    """median (min to max)"""
    return f"{number(value['median'])} ({number(value['min'])}–{number(value['max'])})"


def table(head, rows):
    return "\n".join(["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |",
                      *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def write_preprocess(rows):
    return "## Decode + preprocess, one core, ms an image\n\n" + table(
        ["JPEG / backend", "ours", "Pillow + transformers", "times as fast"],
        [[r["case"], cell(r["ours_ms"]), cell(r["reference_ms"]), cell(r["ratio"])] for r in rows])


def write_forward(rows):
    shapes = ["x".join(map(str, shape)) for shape in SHAPES]
    return ("## Forward and served, images a second\n\nBare: workers x threads x batch, same binary's code, no gRPC. Served: "
            "640x480 JPEGs over loopback, the client on the same cores.\n\n" + table(
                ["model", *(f"bare {shape}" for shape in shapes), "served", "served / best bare", "lone request p50, ms",
                 "bare 1x2x1, ms"],
                [[r["model"], *(cell(r["bare"][shape]) for shape in shapes), cell(r["served"]), cell(r["served_over_bare"]),
                  cell(r["lone_p50_ms"]), cell(r["lone_bare_ms"])] for r in rows]))


def write_serving(result):
    gap = result["idle_gap"]
    return ("## Serving alone: a model that computes nothing\n\n640x480 JPEGs, decoded and resized as always.\n\n" + table(
        ["load", "images a second", "server CPU, µs an image", "p50, ms", "p99, ms"],
        [[r["case"], cell(r["images_per_second"]), cell(r["server_cpu_us_per_image"]), cell(r["p50_ms"]), cell(r["p99_ms"])]
         for r in result["cases"]]) +
        f"\nIdle gap: {gap['requests']} requests, one every {gap['gap_s']} s: p50 {gap['p50_ms']:.2f} ms, p99 {gap['p99_ms']:.2f} ms; "
        f"back to back: p99 {gap['busy_p99_ms']:.2f} ms.\n")


WRITERS = {"preprocess": write_preprocess, "forward": write_forward, "serving": write_serving}


def machine():
    cpu = next(line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
               if line.startswith("model name"))
    flags = pathlib.Path("/proc/cpuinfo").read_text()
    isa = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "no AVX2"
    return f"{os.cpu_count()} x {cpu} ({isa}), load {os.getloadavg()[0]:.1f}"


def main():
    legs = sys.argv[1:] or list(LEGS)
    if unknown := set(legs) - set(LEGS):
        sys.exit(f"no such leg: {', '.join(sorted(unknown))}; there are {', '.join(LEGS)}")
    OUT.mkdir(parents=True, exist_ok=True)
    head = f"{datetime.date.today()}; {machine()}; {ROUNDS} rounds of {SECONDS} s; medians (min–max).\n"
    text, results = head + "\n", {"head": head}
    for leg in legs:
        print(f"== {leg}", file=sys.stderr, flush=True)
        results[leg] = LEGS[leg]()
        text += WRITERS[leg](results[leg]) + "\n"
        (OUT / "report.json").write_text(json.dumps(results, indent=1))
        (OUT / "report.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
