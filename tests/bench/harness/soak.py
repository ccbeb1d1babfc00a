"""What a soak says: whether memory keeps its bound, whether it grows, whether anything was lost."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .intervals import CONFIDENCE, RESAMPLES, Estimate

# Of the run's beginning: allocators and caches fill.
WARM_UP = 0.25
# Seconds beside each other are alike; so many in a row are drawn together.
BLOCK_SECONDS = 60
# Memory may be told to grow only if it would be by more than this share over the window.
NOTICEABLE = 0.01
MB = 1_000_000


@dataclasses.dataclass(frozen=True)
class Sample:
    """The server's memory at a time, as /proc/PID/status counts it."""

    seconds: float
    resident: int
    anonymous: int  # of it, what no file backs


def of_status(seconds: float, text: str) -> Sample:
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    kilobytes = {name: int(fields[name].split()[0]) for name in ("VmRSS", "RssAnon")}
    return Sample(seconds, kilobytes["VmRSS"] * 1024, kilobytes["RssAnon"] * 1024)


def window(samples: Sequence[Sample]) -> list[Sample]:
    """The samples behind the warm-up: the last three quarters of the time."""
    begin, end = samples[0].seconds, samples[-1].seconds
    return [sample for sample in samples if sample.seconds >= begin + WARM_UP * (end - begin)]


def slope(seconds: Sequence[float], values: Sequence[float], seed: int = 0) -> Estimate:
    """Growth per second by least squares, with the percentile interval of a moving-block bootstrap of the residuals
    (Künsch 1989). Of less than three blocks the interval is infinite: nothing can be said.
    """
    times, numbers = np.asarray(seconds, float), np.asarray(values, float)
    count = len(times)
    centred = times - times.mean()
    growth = float(centred @ numbers / (centred @ centred))
    residuals = numbers - numbers.mean() - growth * centred
    if times[-1] - times[0] < 3 * BLOCK_SECONDS:
        return Estimate(growth, -np.inf, np.inf, count)
    length = max(1, round(BLOCK_SECONDS * (count - 1) / (times[-1] - times[0])))
    blocks = -(-count // length)
    begins = np.random.default_rng(seed).integers(count - length + 1, size=(RESAMPLES // 10, blocks, 1))
    drawn = residuals[(begins + np.arange(length)).reshape(len(begins), -1)[:, :count]]
    growths = growth + drawn @ centred / (centred @ centred)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(growths, [tail, 1 - tail])
    return Estimate(growth, float(low), float(high), count)


@dataclasses.dataclass(frozen=True)
class Verdict:
    most_resident: int
    bound: int
    growth: Estimate  # of the resident set, bytes an hour, behind the warm-up
    grows: bool
    requests: int
    # By reason; "dropped": never sent, since too many were unanswered.
    lost: Mapping[str, int]

    def holds(self) -> bool:
        return self.most_resident <= self.bound and not self.grows and not self.lost


def lost_of(reports: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Of reports of `pixembed load`, or {"error": text} where one failed as a whole."""
    lost: dict[str, int] = {}
    for report in reports:
        parts = {
            "refused": report.get("refused", 0),
            "dropped": report.get("dropped", 0),
            **report.get("failed_images", {}),
            **({report["error"]: 1} if "error" in report else {}),
        }
        for reason, count in parts.items():
            if count:
                lost[reason] = lost.get(reason, 0) + int(count)
    return lost


def judge(
    samples: Sequence[Sample],
    reports: Sequence[Mapping[str, Any]],
    weights: int,
    budgets: int,
    answered: int,
) -> Verdict:
    """`answered`: by the server's own count."""
    steady = window(samples)
    growth = slope([s.seconds for s in steady], [float(s.resident) for s in steady])
    mean = float(np.mean([s.resident for s in steady]))
    seconds = steady[-1].seconds - steady[0].seconds
    grows = growth.low > 0 and growth.median * seconds > NOTICEABLE * mean
    hourly = Estimate(growth.median * 3600, growth.low * 3600, growth.high * 3600, growth.rounds)
    lost = lost_of(reports)
    images = sum(int(report.get("images", 0)) for report in reports)
    if answered != images:
        lost["answered by the server, and not received"] = answered - images
    return Verdict(
        max(s.resident for s in samples),
        int(1.25 * weights) + budgets,
        hourly,
        grows,
        sum(int(report.get("requests", 0)) for report in reports),
        lost,
    )


def describe(verdict: Verdict, weights: int, budgets: Mapping[str, int]) -> str:
    def mb(value: float) -> str:
        return f"{value / MB:.1f} MB"

    named = ", ".join(f"{name} {mb(value)}" for name, value in budgets.items())
    within = "within" if verdict.most_resident <= verdict.bound else "ABOVE"
    grown = verdict.growth
    lost = ", ".join(f"{count} {reason}" for reason, count in verdict.lost.items()) or "none"
    return "\n".join(
        [
            f"resident set: at most {mb(verdict.most_resident)}, {within} {mb(verdict.bound)} = 1.25 x weights "
            f"({mb(weights)}) + {named}",
            f"slope behind the first quarter: {mb(grown.median)} an hour ({mb(grown.low)} to {mb(grown.high)}): "
            + ("it GROWS" if verdict.grows else "no growth that would count"),
            f"requests: {verdict.requests}; lost: {lost}",
            "holds" if verdict.holds() else "DOES NOT HOLD",
        ]
    )
