"""Curves as SVG."""

import dataclasses
import html
import math
from collections.abc import Sequence

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 210, 40, 50  # margins; the legend is in the right one
COLOURS = ("#0b62a4", "#c8421a", "#3a8f3a", "#8a4fa0", "#a07800", "#555555")
TICKS = 6


@dataclasses.dataclass(frozen=True)
class Curve:
    """Points (x, y); `intervals` (low, high) of each, if known. Curves of one colour belong together."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int
    dashed: bool = False
    intervals: Sequence[tuple[float, float]] = ()


def ticks(most: float) -> list[float]:
    """Round numbers from 0 to `most` or a little above, about TICKS of them."""
    if not most > 0:
        return [0.0, 1.0]
    raw = most / TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))
    return [step * i for i in range(math.ceil(most / step - 1e-9) + 1)]


def label(value: float) -> str:
    return f"{value:.6g}"


def curves(title: str, x_label: str, y_label: str, lines: Sequence[Curve]) -> str:
    """Both axes begin at 0."""
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points] + [high for line in lines for _, high in line.intervals]
    x_ticks, y_ticks = ticks(max(xs, default=0)), ticks(max(ys, default=0))
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + width * x / x_ticks[-1], TOP + height * (1 - y / y_ticks[-1])

    def text(x: float, y: float, words: str, anchor: str, extra: str = "") -> str:
        return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{html.escape(words)}</text>'

    def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
        return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="12" role="img">',
        text(LEFT, TOP - 16, title, "start", ' font-size="15" font-weight="bold"'),
        text(LEFT + width / 2, HEIGHT - 12, x_label, "middle"),
        text(
            16,
            TOP + height / 2,
            y_label,
            "middle",
            f' transform="rotate(-90 16 {TOP + height / 2:.1f})"',
        ),
    ]
    for x in x_ticks:
        at, _ = place(x, 0)
        out.append(line(at, TOP, at, TOP + height, 'stroke="#eee"'))
        out.append(text(at, TOP + height + 16, label(x), "middle"))
    for y in y_ticks:
        _, at = place(0, y)
        out.append(line(LEFT, at, LEFT + width, at, 'stroke="#ddd"'))
        out.append(text(LEFT - 6, at + 4, label(y), "end"))
    for i, curve in enumerate(lines):
        colour = COLOURS[curve.colour % len(COLOURS)]
        dash = ' stroke-dasharray="5 4"' if curve.dashed else ""
        path = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in curve.points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"{dash}/>')
        if not curve.dashed:
            for x, y in curve.points:
                at_x, at_y = place(x, y)
                out.append(f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="3.2" fill="{colour}"/>')
        for (x, _), (low, high) in zip(curve.points, curve.intervals, strict=False):
            at, bottom = place(x, low)
            out.append(line(at, bottom, at, place(x, high)[1], f'stroke="{colour}"'))
        legend = TOP + 10 + 20 * i
        begin = LEFT + width + 16
        out.append(line(begin, legend, begin + 24, legend, f'stroke="{colour}" stroke-width="1.8"{dash}'))
        out.append(text(begin + 30, legend + 4, curve.name, "start"))
    return "\n".join([*out, "</svg>"])
