#!/usr/bin/env python3
"""What less precision gives and costs: images a CPU second of the bare forward on one core, and cosines on photos.

usage: tests/bench/frontier.sh [MODEL_DIR [PHOTOS]] [--rounds 5] [--seconds 3]

float32, bfloat16, int16 and int8 for a few --precision_min_cosine, beside ONNX Runtime's float32 and dynamic int8 of
the same weights, on the same pixels; each after the other, round by round. Prints a Markdown table: medians over the
rounds, and of the ratios to float32 of the same round; cosines with float32, of each runtime's own kind, over the
photos.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
from collections.abc import Sequence
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]
BENCHMARK = ROOT / "build/release/bench/forward_benchmark"
PEER = ROOT / "tests/bench/peers/forward.py"
CACHE = pathlib.Path(os.environ["PIXEMBED_CACHE"])
OURS: dict[str, tuple[str, ...]] = {
    "pixembed float32": (),
    "pixembed bfloat16": ("--precision=bfloat16",),
    "pixembed int16": ("--precision=int16",),
} | {
    f"pixembed int8, --precision_min_cosine={cosine}": ("--precision=int8", f"--precision_min_cosine={cosine}")
    for cosine in ("0.999", "0.9995", "0.9997")
}
PEERS = {"ONNX Runtime float32": "onnxruntime", "ONNX Runtime dynamic int8": "onnxruntime-int8"}
BASE = "pixembed float32"

Row = dict[str, Any]


def lines(command: Sequence[object]) -> list[Row]:
    done = subprocess.run([str(word) for word in command], check=False, text=True, capture_output=True)
    if done.returncode:
        return [{"error": (done.stderr.strip().splitlines() or ["no output"])[-1]}]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def ours(name: str, arguments: argparse.Namespace) -> Row:
    found = lines(
        [
            BENCHMARK,
            arguments.model,
            f"--photos={arguments.photos}",
            "--shapes=1x1",
            "--batches=1",
            f"--seconds={arguments.seconds}",
            *OURS[name],
        ]
    )
    return {key: value for line in found for key, value in line.items()}


def peer(name: str, arguments: argparse.Namespace) -> Row:
    cache = ROOT / "build/bench/peers" / arguments.model.name / "frontier"
    python = CACHE / "bench-peers/bin/python"
    found = lines(
        [
            python,
            PEER,
            PEERS[name],
            arguments.model,
            cache,
            f"--photos={arguments.photos}",
            "--batches=1",
            "--threads=1",
            f"--seconds={arguments.seconds}",
        ]
    )
    return found[0]


def measure(number: int, arguments: argparse.Namespace) -> dict[str, Row]:
    order = [*OURS, *PEERS] if number % 2 == 0 else [*PEERS, *reversed(OURS)]
    return {name: ours(name, arguments) if name in OURS else peer(name, arguments) for name in order}


def table(rounds: Sequence[dict[str, Row]]) -> str:
    rate = "images_per_cpu_second"
    head = ["what", "images a CPU second", "x float32", "smallest cosine", "mean cosine", "load, s", "kept"]
    text = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for name in [*OURS, *PEERS]:
        rows = [result[name] for result in rounds]
        if errors := [row["error"] for row in rows if "error" in row]:
            text.append(f"| {name} | {errors[0]} |||||")
            continue
        ratios = [result[name][rate] / result[BASE][rate] for result in rounds]
        kernels = str(rows[0].get("kernels", ""))
        cells = [
            name,
            f"{statistics.median(row[rate] for row in rows):.1f}",
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})",
            f"{rows[0]['smallest_cosine']:.6f}",
            f"{rows[0]['mean_cosine']:.6f}",
            f"{statistics.median(row['load_seconds'] for row in rows):.1f}" if "load_seconds" in rows[0] else "–",
            kernels.rsplit(", ", 1)[1] if "kept in" in kernels else "–",
        ]
        text.append(f"| {' | '.join(cells)} |")
    return "\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path, nargs="?", default=pathlib.Path(os.environ["PIXEMBED_MODEL"]))
    parser.add_argument("photos", type=pathlib.Path, nargs="?", default=pathlib.Path(os.environ["PIXEMBED_PHOTOS"]))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    arguments = parser.parse_args()
    print(table([measure(number, arguments) for number in range(arguments.rounds)]))


if __name__ == "__main__":
    main()
