"""The settings of a run, and the name of what they measure."""

import dataclasses
import hashlib
import json
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[3]
RELEASE = ROOT / "build/release"
OUT = ROOT / "build/bench"


@dataclasses.dataclass(frozen=True)
class Settings:
    """From the environment: PIXEMBED_BENCH_ and the name in capitals."""

    rounds: int = 5
    # How long each figure is measured in each round.
    seconds: float = 4.0
    # Of vit-b16, vit-ti16.
    models: tuple[str, ...] = ("vit-b16", "vit-ti16")
    # Of the legs with peers.
    peer_models: tuple[str, ...] = ("vit-b16",)
    # Open loop: shares of the own peak.
    loads: tuple[float, ...] = (0.5, 0.7, 0.8)
    # Requests after an idle gap, one every 1.05 s, of each kind, in the first round only; 0 leaves them out.
    idle_requests: int = 60
    # The cores that are shared by the server and its client.
    cores: int = dataclasses.field(default_factory=lambda: len(os.sched_getaffinity(0)))

    @staticmethod
    def of_environment() -> "Settings":
        def value(name: str) -> str | None:
            return os.environ.get(f"PIXEMBED_BENCH_{name.upper()}")

        changes: dict[str, object] = {}
        for name, parse in (("rounds", int), ("seconds", float), ("idle_requests", int)):
            if text := value(name):
                changes[name] = parse(text)
        for name in ("models", "peer_models"):
            if text := value(name):
                changes[name] = tuple(text.split(","))
        if text := value("loads"):
            changes["loads"] = tuple(float(load) for load in text.split(","))
        return dataclasses.replace(Settings(), **changes)  # type: ignore[arg-type]

    def model(self, name: str) -> pathlib.Path:
        return pathlib.Path(os.environ["PIXEMBED_CACHE"]) / "models" / name

    def key(self, commit: str) -> str:
        """Names what is measured. The number of rounds is not in it: more may be added."""
        fields = dataclasses.asdict(self) | {"rounds": None, "idle_requests": None}
        digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
        return f"{commit}-{digest[:8]}"


def commit_of(root: pathlib.Path) -> str:
    """The commit, and where files differ from it a digest of how. New files do not count."""

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(root), *words], check=True, text=True, stdout=subprocess.PIPE).stdout

    commit = git("rev-parse", "HEAD").strip()[:12]
    difference = git("diff", "HEAD")
    if difference:
        commit += "-changed-" + hashlib.sha256(difference.encode()).hexdigest()[:8]
    return commit
