#!/usr/bin/env python3
"""Python's client beside the C++ one: images a second through one stream, in turn, of the same server.

usage: PYTHONPATH=client/python/src clients.py [--model MODEL_DIR] [--rounds 5] [--seconds 10] [--null]

Both stream the benchmark's 640x480 JPEG (112 kB) with 64 images on their way: `pixembed load --stream`, and
embed_stream in a process of its own. Prints the medians over the rounds of both rates, of the CPU time that each
client takes an image, and of the ratio within a round, each with its 95 % bootstrap interval. --null: a server that
computes nothing, where the client is what is measured. --profile prints where the Python client's time goes, and
measures nothing.
"""

import argparse
import cProfile
import itertools
import json
import os
import pathlib
import pstats
import sys
import time
from collections.abc import Iterator

from harness import programs
from harness.intervals import estimate
from harness.settings import OUT

IN_FLIGHT = 64


def stream(address: str, seconds: float) -> dict[str, float]:
    """What the Python client does in so many seconds."""
    from pixembed import Client

    data = programs.picture().read_bytes()
    with Client(address, max_in_flight_images=IN_FLIGHT) as client:
        client.embed([data])  # the connection is no part of it
        begin, cpu = time.monotonic(), time.process_time()
        end = begin + seconds

        def images() -> Iterator[bytes]:
            return itertools.takewhile(lambda _: time.monotonic() < end, itertools.repeat(data))

        count = sum(result.vector is not None for result in client.embed_stream(images()))
        elapsed, used = time.monotonic() - begin, time.process_time() - cpu
    return {"images_per_second": count / elapsed, "client_cpu_us_per_image": used / max(count, 1) * 1e6}


def by_python(server: programs.Server, seconds: float) -> dict[str, float]:
    (report,) = programs.json_lines(
        programs.run(sys.executable, __file__, f"--child={server.address}", f"--seconds={seconds}")
    )
    return report


def by_cpp(server: programs.Server, seconds: float) -> dict[str, float]:
    return programs.load(server, "--stream", f"--concurrency={IN_FLIGHT}", f"--duration={seconds}s", programs.picture())


def profile(server: programs.Server, seconds: float) -> None:
    """Of the thread that takes the results; those of gRPC and of the reader are in the CPU time only."""
    profiler = cProfile.Profile()
    profiler.runcall(stream, server.address, seconds)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cache = pathlib.Path(os.environ["PIXEMBED_CACHE"])
    parser.add_argument("--model", type=pathlib.Path, default=cache / "models/vit-ti16", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each figure; default: %(default)s")
    parser.add_argument("--null", action="store_true", help="a server that computes nothing")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--child", metavar="ADDRESS", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(stream(arguments.child, arguments.seconds)))
        return
    OUT.mkdir(parents=True, exist_ok=True)
    with programs.null_server() if arguments.null else programs.pixembed_server(arguments.model) as server:
        programs.warm_up(server, programs.picture())
        if arguments.profile:
            profile(server, arguments.seconds)
            return
        sides = {"C++": by_cpp, "Python": by_python}
        rounds: list[dict[str, dict[str, float]]] = []
        for number in range(arguments.rounds):
            order = list(sides.items())[:: 1 if number % 2 == 0 else -1]
            rounds.append({name: measure(server, arguments.seconds) for name, measure in order})
    for name in sides:
        rate, cpu = (
            estimate([measured[name][key] for measured in rounds])
            for key in ("images_per_second", "client_cpu_us_per_image")
        )
        print(
            f"{name}: {rate.median:.1f} images/s ({rate.low:.1f} to {rate.high:.1f}); "
            f"the client's CPU time {cpu.median:.0f} us an image ({cpu.low:.0f} to {cpu.high:.0f})"
        )
    ratio = estimate(
        [measured["Python"]["images_per_second"] / measured["C++"]["images_per_second"] for measured in rounds]
    )
    print(f"Python / C++: {ratio.median:.3f} ({ratio.low:.3f} to {ratio.high:.3f})")


if __name__ == "__main__":
    main()
