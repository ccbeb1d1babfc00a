"""Nothing is measured where the vectors differ."""

import contextlib
import pathlib

import pytest

import bench
from harness import parity, programs
from harness.settings import Settings
from harness.store import Store


@pytest.fixture
def store(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("PIXEMBED_CACHE", str(tmp_path))
    monkeypatch.setattr(programs, "pixembed_server", lambda _: contextlib.nullcontext())
    return Store(tmp_path / "raw")


def test_the_gate_stops_a_run_whose_vectors_differ(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "check", lambda *_: parity.Parity(2e-4, 1.0, 16))
    with pytest.raises(SystemExit, match=r"largest difference 2\.00e-04"):
        bench.gate(Settings(), store, ["vit-b16"])
    assert store.rounds("parity-vit-b16") == []


def test_the_gate_is_passed_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    results = iter([parity.Parity(1e-6, 1.0, 16)])
    monkeypatch.setattr(parity, "check", lambda *_: next(results))
    for _ in range(2):
        gates = bench.gate(Settings(), store, ["vit-b16"])
        assert gates["vit-b16"]["images"] == 16
    assert "largest difference 1.0e-06" in bench.parity_text(gates)
