"""The programs that are measured: starting servers, sending load, counting CPU time."""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .settings import OUT, RELEASE, ROOT

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# Of a request: a machine may be stopped for a while.
REQUEST_TIMEOUT = "10m"
WARM_UP_REQUESTS = 16


def run(*command: object, environment: Mapping[str, str] | None = None) -> str:
    """The standard output of a command that must succeed."""
    return subprocess.run(
        [str(word) for word in command],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    ).stdout


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@dataclasses.dataclass(frozen=True)
class Server:
    address: str
    pid: int

    def cpu_seconds(self) -> float:
        """User and system time of the process so far."""
        stat = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / TICKS_PER_SECOND

    def memory_mb(self, what: str) -> float:
        """A line of /proc/PID/status, such as VmHWM (the peak), RssAnon, RssFile."""
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        match = re.search(rf"^{what}:\s+(\d+) kB", status, re.MULTILINE)
        return int(match.group(1)) * 1024 / 1e6 if match else 0.0

    def peak_memory_mb(self) -> float:
        return self.memory_mb("VmHWM")


@contextlib.contextmanager
def on_core(index: int) -> Iterator[None]:
    """What is started meanwhile runs on one core: the index-th of those that this process has."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(cores)[index]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@contextlib.contextmanager
def serving(
    *command: object, environment: Mapping[str, str] | None = None, core: int | None = None
) -> Iterator[Server]:
    """A server that says "listening ADDRESS" or "serving on ADDRESS" when it is ready; SIGTERM ends it.

    `core`: it runs on this one only, as on_core counts them.
    """
    words = [str(word) for word in command]
    log = OUT / "logs" / f"{pathlib.Path(words[1] if words[1:] and words[1].endswith('.py') else words[0]).stem}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as sink:
        with contextlib.nullcontext() if core is None else on_core(core):
            process = subprocess.Popen(
                words,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, **(environment or {})},
            )
        assert process.stdout is not None
        try:
            address = None
            for line in process.stdout:
                sink.write(line)
                if match := re.search(r"(?:listening|serving on) (\S+)", line):
                    address = match.group(1)
                    break
            if address is None:
                raise RuntimeError(f"{words[0]} did not start: see {log}")
            yield Server(address, process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            sink.write(process.communicate(timeout=120)[0])
        if process.returncode:
            raise RuntimeError(f"{words[0]} exited with {process.returncode}: see {log}")


def pixembed_server(model: pathlib.Path, *flags: str) -> contextlib.AbstractContextManager[Server]:
    return serving(RELEASE / "bin/pixembed-server", f"--model={model}", "--listen=127.0.0.1:0", *flags)


def null_server(*flags: str, core: int | None = None) -> contextlib.AbstractContextManager[Server]:
    return serving(RELEASE / "bench/null_server", *flags, core=core)


def load_command(server: Server, *arguments: object) -> list[str]:
    """`pixembed load` with a report in JSON."""
    return [
        str(RELEASE / "bin/pixembed"),
        "load",
        f"--address={server.address}",
        "--json",
        f"--timeout={REQUEST_TIMEOUT}",
        *map(str, arguments),
    ]


def load(server: Server, *arguments: object) -> dict[str, Any]:
    """The report of `pixembed load`, with the server's CPU time and memory."""
    before = server.cpu_seconds()
    report: dict[str, Any] = json.loads(run(*load_command(server, *arguments)))
    cpu = server.cpu_seconds() - before
    report["server_cpu_us_per_image"] = cpu / max(report["images"], 1) * 1e6
    report["images_per_cpu_second"] = report["images"] / cpu if cpu else 0.0
    report["server_memory_mb"] = server.peak_memory_mb()
    return report


def warm_up(server: Server, *images: pathlib.Path) -> None:
    load(server, f"--requests={WARM_UP_REQUESTS}", "--concurrency=4", *images)


def pictures() -> pathlib.Path:
    """The folder of the pictures that every leg uses."""
    folder = OUT / "pictures"
    if not folder.exists():
        run(sys.executable, ROOT / "tests/bench/make_pictures.py", folder)
    return folder


def picture() -> pathlib.Path:
    """640x480, 112 kB."""
    return pictures() / "640x480.jpg"


def bitmap(name: str) -> pathlib.Path:
    """246B.bmp or 100kB.bmp, both of 8x8 pixels: make_pictures.py."""
    folder = OUT / "bitmaps"
    if not folder.exists():
        run(sys.executable, ROOT / "tests/bench/make_pictures.py", "--bitmaps", folder)
    return folder / name


def idle_floor(picture: pathlib.Path, gap_seconds: float, requests: int) -> dict[str, Any]:
    """What threads that hand a picture on take after a gap and back to back, µs, without a server."""
    (result,) = json_lines(
        run(RELEASE / "bench/idle_floor", picture, f"--gap={gap_seconds}s", f"--requests={requests}")
    )
    return result


def arrival_times(*load: object) -> npt.NDArray[np.float64]:
    """When the requests of an open loop with these --rate, --seed and --duration are due, in seconds."""
    return np.array(run(RELEASE / "bench/arrival_times", *load).split(), float)


def fma_peak() -> dict[str, Any]:
    """GFLOPS of this machine now, by instruction set."""
    (result,) = json_lines(run(RELEASE / "bench/fma_peak"))
    return result


def gflops(peak: Mapping[str, Any]) -> float:
    """The float32 limit of all cores, by the widest instructions that help."""
    return max(float(peak[isa]["all_cores_gflops"]) for isa in ("avx2", "avx512") if isa in peak)
