"""A run goes on where it was."""

import pathlib

import pytest

from harness.settings import Settings
from harness.store import Raw, Store


def test_what_is_complete_is_not_measured_again(tmp_path: pathlib.Path) -> None:
    store = Store(tmp_path / "raw")
    assert store.rounds("forward") == []
    assert store.once("forward", 1, lambda: {"rate": 2}) == ({"rate": 2}, True)
    assert store.once("forward", 1, lambda: {"rate": 3}) == ({"rate": 2}, False)
    store.once("forward", 0, lambda: {"rate": 1})
    store.once("forward-more", 0, lambda: {"rate": 9})
    assert store.rounds("forward") == [{"rate": 1}, {"rate": 2}]
    store.clear()
    assert store.rounds("forward") == []


def test_what_fails_leaves_nothing(tmp_path: pathlib.Path) -> None:
    def fail() -> Raw:
        raise RuntimeError("stopped")

    store = Store(tmp_path)
    with pytest.raises(RuntimeError, match="stopped"):
        store.once("open", 0, fail)
    assert store.rounds("open") == []


def test_settings_and_commit_name_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.of_environment()
    monkeypatch.setenv("PIXEMBED_BENCH_ROUNDS", "9")
    more = Settings.of_environment()
    monkeypatch.setenv("PIXEMBED_BENCH_SECONDS", "30")
    monkeypatch.setenv("PIXEMBED_BENCH_LOADS", "0.5,0.9")
    monkeypatch.setenv("PIXEMBED_BENCH_MODELS", "vit-ti16")
    longer = Settings.of_environment()
    assert (longer.rounds, longer.seconds, longer.loads, longer.models) == (9, 30, (0.5, 0.9), ("vit-ti16",))
    assert more.key("abc") == settings.key("abc")
    assert len({settings.key("abc"), settings.key("abd"), longer.key("abc")}) == 3
