#!/usr/bin/env python3
"""What a device gives, out of a bundle of tests/gpu/run.sh, which sets the libraries' path: run it through that.

usage: measure.py BUNDLE OUT.json [--device cuda:0] [--budget 420] [--seconds 0.6] [--batches 1,2,4,...]

In this order, each step with a limit of its own, all together within --budget seconds: the tests (parity), ViT-B/16
with random weights, the ladder of its bare forward over batch sizes with 1 and 2 workers, in bfloat16 (as the server
does it, by LibTorch's kernels alone, and without CUDA graphs) and in float32; the server on loopback, of an
uncompressed picture of the model's size, which costs next to nothing to decode, and of JPEGs; the bare forward on the
host's own CPU in every precision; the ladder of ViT-Ti/16. OUT.json is whole after every step. A step that fails, or
has no time left, is an entry that says so, and the rest goes on; the exit code is then 1. Needs Python's own library
only; making the models, numpy and safetensors.
"""

import argparse
import contextlib
import functools
import json
import os
import pathlib
import platform
import queue
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

# Seconds that a step may take, whatever is left of the budget.
LIMITS = {"parity": 180, "model": 90, "ladder": 75, "server": 60, "load": 30, "cpu": 40}
# The end of a failed step's output that is kept, in characters.
TAIL = 2000
SHAPES = "1x1,2x1"
# Precision and flags, the most telling first.
LADDERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("bfloat16", ()),
    ("bfloat16", ("--fused_kernels=false",)),
    ("bfloat16", ("--cuda_graphs=false",)),
    ("float32", ()),
)
# Precision, and images in a batch at most.
SERVED: tuple[tuple[str, int], ...] = (("bfloat16", 128), ("bfloat16", 32), ("float32", 32))
CPU_PRECISIONS = ("float32", "bfloat16", "int16", "int8")
GPU_COLUMNS = "name,driver_version,memory.total"
# Ways to send: arguments of `pixembed load`.
LOADS = {
    "alone": ["--concurrency=1"],
    "unary": ["--concurrency=64", "--channels=4"],
    "sixteen": ["--concurrency=16", "--images_per_request=16", "--channels=4"],
    "stream": ["--stream", "--concurrency=2048", "--channels=8"],
}
# What two cores can answer in time.
CPU_LOADS = {"alone": LOADS["alone"], "unary": ["--concurrency=8"], "stream": ["--stream", "--concurrency=16"]}


class StepError(Exception):
    """Why a step has no result."""


class Said(NamedTuple):
    out: str
    err: str


def tail(text: str) -> str:
    return text[-TAIL:]


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


class Run:
    """The budget, and the report as it grows."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.bundle: pathlib.Path = arguments.bundle.resolve()
        self.out: pathlib.Path = arguments.out
        self.device: str = arguments.device
        self.seconds: float = arguments.seconds
        self.batches: str = arguments.batches
        self.end: float = time.monotonic() + arguments.budget
        self.report: dict[str, Any] = {"environment": environment(self.bundle, self.device), "steps": []}
        self.failed = False
        self.write()

    def write(self) -> None:
        new = self.out.with_name(self.out.name + ".new")
        new.write_text(json.dumps(self.report, indent=1) + "\n", encoding="utf-8")
        new.replace(self.out)

    def left(self) -> float:
        return self.end - time.monotonic()

    def command(self, limit: float, *words: object, variables: dict[str, str] | None = None) -> Said:
        """What a command said, which is killed with all it started after `limit` seconds."""
        process = subprocess.Popen(
            [str(word) for word in words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(variables or {})},
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            raise StepError(f"not done after {limit:.0f} s: {tail(out + err)}") from None
        if process.returncode:
            raise StepError(f"exit code {process.returncode}: {tail(out + err)}")
        return Said(out, err)

    def step(self, kind: str, name: str, command: list[object], work: Callable[[float], Any]) -> Any:
        """An entry of the report; `work` gets its limit. What it gives, or None where it failed."""
        limit = min(LIMITS[kind], self.left())
        entry: dict[str, Any] = {"step": name, "command": shlex.join(map(str, command)), "limit_seconds": round(limit)}
        self.report["steps"].append(entry)
        start = time.monotonic()
        result = None
        try:
            if limit < 1:
                raise StepError("no time left")
            result = work(limit)
            entry["result"] = result
        except (StepError, OSError, ValueError) as error:
            entry["error"] = str(error)
            self.failed = True
        entry["seconds"] = round(time.monotonic() - start, 2)
        print(f"gpu: {name}: {entry.get('error', 'done')} ({entry['seconds']} s)", file=sys.stderr, flush=True)
        self.write()
        return result

    def program(self, name: str) -> pathlib.Path:
        return self.bundle / "bin" / name


def environment(bundle: pathlib.Path, device: str) -> dict[str, Any]:
    def output(*command: str) -> str:
        try:
            return subprocess.run(command, check=True, text=True, capture_output=True, timeout=20).stdout.strip()
        except (OSError, subprocess.SubprocessError) as error:
            return f"unknown: {error}"

    version = pathlib.Path(os.environ.get("PIXEMBED_LIBTORCH", "")) / "torch" / "version.py"
    torch = re.search(r"^__version__ = '([^']*)'", version.read_text(), re.MULTILINE) if version.exists() else None
    cpu = re.search(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "device": device,
        "gpus": output(
            "nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"
        ).splitlines(),
        "torch": torch.group(1) if torch else "unknown",
        "commit": (bundle / "commit").read_text().strip(),
        "cores": len(os.sched_getaffinity(0)),
        "cpu": cpu.group(1) if cpu else "unknown",
        "system": platform.platform(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def parity(run: Run) -> None:
    devices = run.device if run.device == "cpu" else f"{run.device} cpu"
    command: list[object] = [run.bundle / "run.sh", "test", run.bundle]
    run.step(
        "parity",
        "parity",
        command,
        lambda limit: tail(run.command(limit, *command, variables={"PIXEMBED_TEST_DEVICES": devices}).out),
    )


def make_model(run: Run, architecture: str) -> pathlib.Path | None:
    model = run.bundle / "models" / architecture
    command: list[object] = [sys.executable, run.bundle / "make" / "make_random_model.py", architecture, model]
    if model.exists():
        return model
    made = run.step("model", f"model {architecture}", command, lambda limit: run.command(limit, *command).out.strip())
    return None if made is None else model


def rungs(run: Run, command: list[object], limit: float) -> dict[str, Any]:
    """With what the program says of the kernels that it computes by, and of those that it has to do without."""
    said = run.command(limit, *command)
    return {"log": said.err.splitlines(), "rungs": json_lines(said.out)}


def forward(run: Run, model: pathlib.Path, device: str, precision: str, *flags: str) -> list[object]:
    return [
        run.program("forward_benchmark"),
        model,
        f"--device={device}",
        f"--precision={precision}",
        "--precision_min_cosine=0.9",
        *flags,
    ]


def ladder(run: Run, model: pathlib.Path) -> None:
    for precision, flags in LADDERS if run.device != "cpu" else LADDERS[-1:]:
        rest = (f"--shapes={SHAPES}", f"--batches={run.batches}", f"--seconds={run.seconds}")
        command = forward(run, model, run.device, precision, *flags, *rest)
        name = " ".join(("ladder", model.name, precision, *flags))
        run.step("ladder", name, command, functools.partial(rungs, run, command))


def refused_or_rungs(run: Run, command: list[object], limit: float) -> dict[str, Any] | str:
    try:
        return rungs(run, command, limit)
    except StepError as error:
        if "UNSUPPORTED_PRECISION" not in str(error):
            raise
        return f"refused: {error}"


def cpu(run: Run, model: pathlib.Path) -> None:
    """One core, then all: a GPU's host often has what the CPUs at hand have not."""
    for precision in CPU_PRECISIONS:
        shapes = f"--shapes=1x1,{len(os.sched_getaffinity(0))}x1"
        command = forward(run, model, "cpu", precision, shapes, "--batches=4", f"--seconds={2 * run.seconds}")
        run.step("cpu", f"cpu {model.name} {precision}", command, functools.partial(refused_or_rungs, run, command))


@contextlib.contextmanager
def serving(command: list[object], limit: float) -> Iterator[tuple[str, subprocess.Popen[str], list[str]]]:
    """A server that has said where it listens; its address, process, and log so far."""
    process = subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines: list[str] = []
    addresses: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if match := re.search(r"(?:listening|serving on) (\S+)", line):
                addresses.put(match.group(1))
        addresses.put(None)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        try:
            address = addresses.get(timeout=limit)
        except queue.Empty:
            address = None
        if address is None:
            raise StepError(f"the server did not start in {limit:.0f} s: {tail(''.join(lines))}")
        yield address, process, lines
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(timeout=5)


def cpu_seconds(pid: int) -> float:
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def end_to_end(run: Run, model: pathlib.Path, precision: str, max_batch_size: int) -> None:
    command: list[object] = [
        run.program("pixembed-server"),
        f"--model={model}",
        "--listen=127.0.0.1:0",
        f"--device={run.device}",
        f"--precision={precision}",
        "--precision_min_cosine=0.9",
        f"--max_batch_size={max_batch_size}",
        "--max_queued_images=8192",
    ]
    name = f"served {model.name} {precision} {max_batch_size}"
    with contextlib.ExitStack() as stack:
        server = run.step("server", f"{name}: start", command, functools.partial(start, stack, command))
        if server is None:
            return
        address, pid = server["address"], server["pid"]
        for pictures in ("bmp", "jpeg"):
            for way, arguments in (LOADS if run.device != "cpu" else CPU_LOADS).items():
                load: list[object] = [
                    run.program("pixembed"),
                    "load",
                    f"--address={address}",
                    "--json",
                    f"--duration={4 * run.seconds}s",
                    *arguments,
                    run.bundle / "pictures" / pictures,
                ]
                run.step(
                    "load",
                    f"{name}: {pictures}, {way}",
                    load,
                    functools.partial(measured, run, load, pid),
                )


def start(stack: contextlib.ExitStack, command: list[object], limit: float) -> dict[str, Any]:
    begin = time.monotonic()
    address, process, lines = stack.enter_context(serving(command, limit))
    ready = time.monotonic() - begin
    return {"address": address, "pid": process.pid, "ready_seconds": round(ready, 2), "log": "".join(lines)}


def measured(run: Run, load: list[object], pid: int, limit: float) -> dict[str, Any]:
    before = cpu_seconds(pid)
    report: dict[str, Any] = json.loads(run.command(limit, *load).out)
    report["server_cpu_seconds"] = round(cpu_seconds(pid) - before, 2)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--device", default="cuda:0", help="as the server's flag; one")
    parser.add_argument("--budget", type=float, default=420.0, help="seconds, over all steps")
    parser.add_argument(
        "--seconds", type=float, default=0.6, help="of a rung of the ladder; a load takes four times that"
    )
    parser.add_argument("--batches", default="1,2,4,8,16,32,64,128,256", help="of the ladder")
    run = Run(parser.parse_args())
    parity(run)
    if big := make_model(run, "vit-b16"):
        ladder(run, big)
        for precision, max_batch_size in SERVED if run.device != "cpu" else SERVED[-1:]:
            end_to_end(run, big, precision, max_batch_size)
        cpu(run, big)
    if small := make_model(run, "vit-ti16"):
        ladder(run, small)
    print(f"gpu: {run.out}", file=sys.stderr)
    sys.exit(1 if run.failed else 0)


if __name__ == "__main__":
    main()
