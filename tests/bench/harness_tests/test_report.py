"""Rendering: of made-up results every table has its figures, and the HTML needs nothing else."""

import json
import math
import pathlib
import re
import xml.etree.ElementTree

import pytest

from harness import chart, peers, report
from harness.document import Drawing, Heading, Part, Table, Text, to_html, to_markdown
from harness.intervals import estimate
from harness.legs import LARGE, OVERHEAD_CASES, SERVING_CASES, SMALL

GFLOP = {"vit-b16": 35.0}
LIMIT = 350.0


def load(rate: float, requests: int = 300) -> report.Data:
    return {
        "images_per_second": rate,
        "images_per_cpu_second": rate / 2,
        "requests": requests,
        "refused": 1,
        "dropped": 2,
        "failed_images": {"DEADLINE_EXCEEDED": 3},
        "client_cpu_us_per_image": 50.0,
        "server_cpu_us_per_image": 900.0,
        "server_memory_mb": 123.0,
        "latency_ms": {"p50": 100.0, "p99": 400.0},
        "latency_histogram_ms": [[100.0, requests * 9 // 10], [400.0, requests // 10]],
        "queue_histograms_ms": {"1": [[90.0, requests]], "2": [[150.0, requests * 9 // 10], [200.0, requests // 10]]},
        "send_delay_ms": {"p99": 0.1, "max": 0.2},
    }


def line(rate: float) -> report.Data:
    return {"images_per_second": rate, "images_per_cpu_second": rate / 2, "smallest_cosine": 0.9999999}


def open_case() -> report.Data:
    return {"peak": load(10.0), "open": {"0.5": load(5.0), "0.8": load(8.0, requests=40)}}


def text_of(parts: list[Part]) -> str:
    for part in parts:
        if isinstance(part, Table):
            assert all(len(row) == len(part.head) for row in part.rows)
    return to_markdown(parts)


def test_forward_gives_rates_shares_and_efficiency() -> None:
    shapes = {"2x1x1": line(4.0), "2x1x4": line(5.0), "1x2x1": line(4.0), "1x2x4": line(4.5)}
    round_ = {"vit-b16": {"bare": shapes, "served": load(4.75), "lone": load(4.0)}}
    text = text_of(report.forward([round_, round_], LIMIT, GFLOP))
    assert "| ViT-B/16 | bare 2x1x4 | 5 (5–5) | 2.5 (2.5–2.5) | 0.5 (0.5–0.5) |" in text
    assert "| ViT-B/16 | served | 4.75 (4.75–4.75) |" in text
    assert "| ViT-B/16 | 0.95 (0.95–0.95) * | 0.95 (0.95–0.95) * | 50 (50–50) | 123 (123–123) |" in text
    assert "| ViT-B/16 | 100 (100–100) | 250 (250–250) | 0.4 (0.4–0.4) * |" in text


def test_open_loop_shows_measured_beside_predicted_and_draws() -> None:
    parts = report.open_loop([{"vit-b16": open_case()}] * 2, cores=2)
    text = text_of(parts)
    row = next(row for row in text.splitlines() if row.startswith("| 50 %"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2:6] == ["600", "100", "90", "150"]
    assert cells[6:11] == ["400", "90", "200", "2", "12"]
    row = next(row for row in text.splitlines() if row.startswith("| 80 %"))
    assert [cell.strip() for cell in row.split("|")[7:11]] == ["–"] * 4  # of 80 requests
    (drawing,) = (part for part in parts if isinstance(part, Drawing))
    root = xml.etree.ElementTree.fromstring(drawing.svg)
    assert len(root.findall("{*}polyline")) == 2 + 4


def test_preprocess_serving_and_bulk() -> None:
    data = {"ours_ms": {"640x480/pil": 1.0}, "reference_ms": {"640x480/pil": 4.0}}
    assert "| 640x480/pil | 1 (1–1) | 4 (4–4) | 4 (4–4) * |" in text_of(report.preprocess([data]))
    served = {"cases": {case: load(500.0) for case in SERVING_CASES}, "idle": load(1.0)}
    assert "Idle gap: 300 requests" in text_of(report.serving([served]))
    job = {"alone": {"online": load(5.0)}, "with_bulk": {"online": load(5.0), "bulk": load(7.0)}}
    text = text_of(report.bulk([{"vit-b16": job}]))
    assert "| ViT-B/16 | with a bulk stream | 300 | 100 | 400 | 400 (400–400) | 7 (7–7) | 1 (1–1) |" in text


def test_serving_shows_the_floor_of_an_idle_gap() -> None:
    kinds = ("wake", "decode", "arithmetic", "memory", "total")
    times = {what: {"p50": 1000.0, "p99": 2000.0} for what in kinds}
    floor: report.Data = {"busy": times, "idle": times | {"decode": {"p50": 1500.0, "p99": 3000.0}}}
    floor["hand_over"] = {"wall": 11.4, "cpu": 9.0}
    served = {"cases": {case: load(500.0) for case in SERVING_CASES}, "idle": load(1.0), "floor": floor}
    text = text_of(report.serving([served, {"cases": served["cases"]}]))
    assert "| decode and resize | 1.5 | 1 | 3 | 2 | 1.5 |" in text
    assert "back to back: 11.4 µs, and 9 µs of CPU" in text


def test_overhead_has_a_row_for_each_picture_and_load() -> None:
    cases = {picture: {case: load(500.0) for case in loads} for picture, loads in OVERHEAD_CASES.items()}
    figures = "500 (500–500) | 900 (900–900) | 50 (50–50) | 100 (100–100) | 400 (400–400) |"
    text = text_of(report.overhead([{"cases": cases, "idle": load(1.0), "one_core": cases[SMALL]}]))
    assert f"| {LARGE} | unary, 1 at a time | {figures}" in text
    assert f"\n| stream | {figures}" in text
    assert "Idle gap: 300 requests" in text
    assert "on one core" not in text_of(report.overhead([{"cases": cases}]))


def test_start_shows_the_lead_over_a_peer() -> None:
    def case(seconds: float) -> report.Data:
        return {
            "seconds": seconds,
            "cpu_seconds": 1.0,
            "first_ms": 10.0,
            "memory_mb": {"peak": 800.0, "own": 400.0, "files": 500.0},
        }

    text = text_of(report.start([{"vit-b16": {"weights_mb": 346.0, "grpcio": case(6.0), "pixembed": case(1.5)}}]))
    figures = "1 (1–1) | 10 (10–10) | 800 (800–800) | 400 (400–400) | 500 (500–500) | 346 |"
    assert f"| ViT-B/16 | pixembed | 1.5 (1.5–1.5) | {figures} 1 |\n" in text
    assert f"| ViT-B/16 | grpcio | 6 (6–6) | {figures} 4 (4–4) * |" in text


def test_a_leg_without_a_request_is_no_reason_to_fail() -> None:
    none = load(0.0, requests=0)
    none["latency_ms"] = {"p50": 0.0, "p99": 0.0}
    job = {"alone": {"online": none}, "with_bulk": {"online": none, "bulk": load(7.0)}}
    assert "nan" in text_of(report.bulk([{"vit-b16": job}]))
    assert "nan" in text_of(
        report.open_loop([{"vit-b16": {"peak": none, "open": {"0.5": none, "1.0": none}}}], cores=2)
    )


def test_peers_show_their_lead_and_what_does_not_run() -> None:
    batches = {"1": line(4.0), "8": line(5.0)}
    round_: report.Data = {"vit-b16": dict.fromkeys((peers.OURS, peers.OURS_LOADED, *peers.BACKENDS), batches)}
    round_["vit-b16"]["openvino"] = {"error": "ImportError: openvino"}
    text = text_of(peers.forward_parts([round_], LIMIT, GFLOP))
    assert "| ViT-B/16 | torch | 8 | 5 (5–5) | 2.5 (2.5–2.5) | 0.5 (0.5–0.5) | 1 (1–1) | 1.000000 |" in text
    assert "| ViT-B/16 | openvino | – | does not run here: ImportError: openvino |" in text
    gate = {"largest_difference": 1e-6, "smallest_cosine": 0.9, "images": 2}
    served = {"vit-b16": {case: open_case() | {"lone": load(4.0), "parity": gate} for case in ("pixembed", "grpcio")}}
    text = text_of(peers.served_parts([served], cores=2))
    assert (
        "| ViT-B/16 | grpcio | 10 (10–10) | 5 (5–5) | 100 (100–100) | 1 (1–1) | 1 (1–1) | 1.0e-06, not the same work |"
        in text
    )


def test_a_vits_operations(tmp_path: pathlib.Path) -> None:
    config = {
        "model_type": "vit",
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "intermediate_size": 3072,
        "image_size": 224,
        "patch_size": 16,
        "num_channels": 3,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert report.gflop_per_image(tmp_path) == pytest.approx(35.1, abs=0.05)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "swin"}))
    assert math.isnan(report.gflop_per_image(tmp_path))


def test_markdown_and_html_hold_the_same_and_html_needs_nothing_else() -> None:
    svg = chart.curves(
        "a < b", "x", "y", [chart.Curve("p50 & more", [(0, 1), (50, 2)], 0, intervals=[(0.5, 3), (1, 4)])]
    )
    parts: list[Part] = [Heading("Title"), Text("5 < 6 & so on"), Table(["a", "b|c"], [["1", "<2>"]]), Drawing(svg)]
    markdown, html = to_markdown(parts), to_html("T & t", parts)
    assert markdown == "## Title\n\n5 < 6 & so on\n\n| a | b\\|c |\n| --- | --- |\n| 1 | <2> |\n"
    assert "<td>&lt;2&gt;</td>" in html
    assert "5 &lt; 6 &amp; so on" in html
    assert not re.search(r"(src|href)=|@import|url\(|<script", html)
    xml.etree.ElementTree.fromstring(svg)


def test_figures_as_people_write_them() -> None:
    assert report.number(1234.5) == "1,230"
    assert report.number(0.012345) == "0.0123"
    assert report.ratio(estimate([1.0, 1.2, 0.9])) == "1 (0.9–1.2)"


@pytest.mark.parametrize(
    ("most", "expected"), [(0, [0, 1]), (0.9, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (93, [0, 20, 40, 60, 80, 100])]
)
def test_ticks_are_round_and_reach_the_end(most: float, expected: list[float]) -> None:
    assert chart.ticks(most) == pytest.approx(expected)
