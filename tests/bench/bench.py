#!/usr/bin/env python3
"""Measures leg by leg and round by round, and writes the report. Called by tests/bench/run.sh, which builds what it
needs.

Every round measures every leg once, so that what is compared is near in time. A leg's round is one file under
build/bench/raw; what is complete for the same commit and settings is not measured again. First of all the served
vectors are compared with the reference's: where they differ, nothing is measured.
"""

import argparse
import dataclasses
import datetime
import functools
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence

from harness import parity, peers, programs, report
from harness.document import Heading, Part, Text, to_html, to_markdown
from harness.intervals import DISTURBED_BELOW, LEAST_ROUNDS, undisturbed
from harness.legs import Leg, bulk, forward, open_loop, overhead, preprocess, serving, start
from harness.settings import OUT, ROOT, Settings, commit_of
from harness.store import Raw, Store

LEGS = [
    Leg("preprocess", preprocess),
    Leg("forward", forward),
    Leg("serving", serving),
    Leg("overhead", overhead),
    Leg("start", start),
    Leg("open", open_loop),
    Leg("bulk", bulk),
    Leg("peers-forward", peers.forward, with_peers=True),
    Leg("peers-served", peers.served, with_peers=True),
    Leg("peers-start", peers.start, with_peers=True),
]


def say(text: str) -> None:
    print(f"{datetime.datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


def gate(settings: Settings, store: Store, models: Sequence[str]) -> Raw:
    """The parity of each model. Exits where one does not hold."""
    results: Raw = {}
    for model in models:

        def measure(model: str = model) -> Raw:
            say(f"parity of {model}")
            directory = settings.model(model)
            with programs.pixembed_server(directory) as server:
                result = parity.check(server, directory)
            if not result.holds():
                sys.exit(
                    f"bench: {model} is not served as the reference computes it, so that nothing is measured: "
                    f"largest difference {result.largest_difference:.2e} (at most {parity.MOST_DIFFERENCE:.0e}), "
                    f"smallest cosine {result.smallest_cosine:.7f} (at least {parity.LEAST_COSINE})"
                )
            return dataclasses.asdict(result)

        results[model], _ = store.once(f"parity-{model}", 0, measure)
    return results


def measure_round(settings: Settings, leg: Leg, number: int) -> Raw:
    say(f"round {number + 1} of {settings.rounds}: {leg.name}")
    calibration = programs.fma_peak()
    before = os.getloadavg()[0]
    started = datetime.datetime.now().isoformat(timespec="seconds")
    data = leg.measure(settings, number)
    return {
        "leg": leg.name,
        "round": number,
        "started": started,
        "load_average": before,
        "calibration": calibration,
        "data": data,
    }


def sections(settings: Settings, leg: str, rounds: Sequence[Raw], limit: float) -> list[Part]:
    data = [raw["data"] for raw in rounds]
    gflop = {
        model: report.gflop_per_image(settings.model(model)) for model in {*settings.models, *settings.peer_models}
    }
    writers = {
        "preprocess": lambda: report.preprocess(data),
        "forward": lambda: report.forward(data, limit, gflop),
        "serving": lambda: report.serving(data),
        "overhead": lambda: report.overhead(data),
        "start": lambda: report.start(data),
        "open": lambda: report.open_loop(data, settings.cores),
        "bulk": lambda: report.bulk(data),
        "peers-forward": lambda: peers.forward_parts(data, limit, gflop),
        "peers-served": lambda: peers.served_parts(data, settings.cores),
        "peers-start": lambda: report.start(data, "Start, beside a Python server of the same calls"),
    }
    return writers[leg]()


def parity_text(results: Mapping[str, Raw]) -> str:
    return "Vectors served against transformers': " + "; ".join(
        f"{report.name(model)}: largest difference {result['largest_difference']:.1e}, smallest cosine "
        f"{result['smallest_cosine']:.7f}, {result['images']} images"
        for model, result in results.items()
    )


def document(
    settings: Settings, commit: str, gates: Mapping[str, Raw], raws: Mapping[str, Sequence[Raw]]
) -> list[Part]:
    every = [raw for rounds in raws.values() for raw in rounds]
    limit = max(programs.gflops(raw["calibration"]) for raw in every)
    dates = sorted(raw["started"][:10] for raw in every)
    loads = [raw["load_average"] for raw in every]
    parts: list[Part] = [
        Heading("pixembed: measured", 1),
        Text(
            f"{' to '.join(dict.fromkeys((dates[0], dates[-1])))}; commit {commit}; {report.machine()}; load average "
            f"{min(loads):.1f} to {max(loads):.1f}; {settings.seconds:g} s a figure and round. Medians over the "
            "rounds, in parentheses their 95 % bootstrap intervals; every ratio is taken within a round."
        ),
        Text(parity_text(gates) + "."),
    ]
    for leg, rounds in raws.items():
        calibrations = [programs.gflops(raw["calibration"]) for raw in rounds]
        kept = undisturbed(calibrations, limit)
        disturbed = sum(value < DISTURBED_BELOW * limit for value in calibrations)
        parts += sections(settings, leg, [rounds[i] for i in kept], limit)
        parts.append(
            Text(
                f"{len(kept)} of {len(rounds)} rounds. In {disturbed} the machine gave less than "
                f"{DISTURBED_BELOW:.0%} of the multiply-adds of this run's best; they are left out where at least "
                f"{LEAST_ROUNDS} others are there."
            )
        )
    return parts


def write(settings: Settings, commit: str, gates: Mapping[str, Raw], store: Store) -> str:
    """The reports of what there is. Returns the Markdown."""
    raws = {leg.name: rounds for leg in LEGS if (rounds := store.rounds(leg.name)[: settings.rounds])}
    if not raws:
        return ""
    parts = document(settings, commit, gates, raws)
    (OUT / "report.html").write_text(to_html("pixembed: measured", parts))
    (OUT / "report.json").write_text(json.dumps({"commit": commit, "parity": gates, "legs": raws}, indent=1))
    text = to_markdown(parts)
    (OUT / "report.md").write_text(text)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("legs", nargs="*", help="of: " + ", ".join(leg.name for leg in LEGS))
    parser.add_argument("--fresh", action="store_true", help="measure again what is there")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # servers are ended, too
    names = arguments.legs or [leg.name for leg in LEGS if not leg.with_peers]
    if unknown := set(names) - {leg.name for leg in LEGS}:
        parser.error(f"no such leg: {', '.join(sorted(unknown))}; there are {', '.join(leg.name for leg in LEGS)}")
    legs = [leg for leg in LEGS if leg.name in names]
    settings = Settings.of_environment()
    commit = commit_of(ROOT)
    store = Store(OUT / "raw" / settings.key(commit))
    if arguments.fresh or os.environ.get("PIXEMBED_BENCH_FRESH"):
        store.clear()
    OUT.mkdir(parents=True, exist_ok=True)
    models = [
        *settings.models,
        *(m for m in settings.peer_models if any(leg.with_peers for leg in legs)),
    ]
    gates = gate(settings, store, list(dict.fromkeys(models)))
    text = write(settings, commit, gates, store)
    for number in range(settings.rounds):
        for leg in legs:
            _, new = store.once(leg.name, number, functools.partial(measure_round, settings, leg, number))
            if new:
                text = write(settings, commit, gates, store)
    print(text)
    say(f"{OUT / 'report.html'}, report.md, report.json; raw results in {store.folder}")


if __name__ == "__main__":
    main()
