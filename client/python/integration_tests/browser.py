"""A real Chromium, driven through its debugging pipe."""

from __future__ import annotations

import base64
import fcntl
import io
import json
import os
import pathlib
import select
import subprocess
from typing import Any

from PIL import Image
from pixembed_fixtures import PATIENCE

WIDTH, HEIGHT = 1200, 900
_FIRST_FREE_FD = 10  # 3 and 4 are the pipe's in Chromium
_BAD_CALLS = ("error", "warning", "assert")


class Browser:
    """One tab. What goes wrong in its pages, and what they ask for, is kept."""

    def __init__(self, profile: pathlib.Path) -> None:
        read, self._write = _high(os.pipe())
        self._read, write = _high(os.pipe())
        flags = [
            "--headless",
            "--no-sandbox",  # which root may not have
            "--disable-gpu",
            "--force-color-profile=srgb",
            "--hide-scrollbars",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
            f"--window-size={WIDTH},{HEIGHT}",
        ]
        with (profile / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["bash", "-c", f'exec chromium "$@" 3<&{read} 4>&{write}', "chromium", *flags],
                stdout=log,
                stderr=log,
                pass_fds=(read, write),
            )
        os.close(read)
        os.close(write)
        self._unread = b""
        self._number = 0
        self._session = ""
        self._loaded = False
        self.problems: list[str] = []
        """Errors and warnings of the console, uncaught exceptions, what the policy refused."""
        self.requests: list[str] = []
        """URLs."""
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        attached = self._send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._send(f"{domain}.enable")
        self.resize(WIDTH, HEIGHT)
        self.colour_scheme("light")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)
        os.close(self._read)
        os.close(self._write)

    def open(self, page: pathlib.Path) -> None:
        """Returns once the page is there and drawn."""
        self.problems.clear()
        self.requests.clear()
        self._loaded = False
        self._send("Page.navigate", url=page.resolve().as_uri())
        while not self._loaded:
            self._take(self._receive())
        self.drawn()

    def drawn(self) -> None:
        """Returns once what was asked for before is on the screen."""
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def run(self, script: str) -> Any:
        """The value of an expression of JavaScript; of a promise, what it keeps."""
        answer = self._send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def texts(self, selector: str) -> list[str]:
        """What a reader sees of the elements, each in one line."""
        found: list[str] = self.run(
            f"[...document.querySelectorAll({json.dumps(selector)})]"
            ".map((element) => element.innerText.trim().replaceAll('\\n', ' '))"
        )
        return found

    def click(self, selector: str) -> None:
        self.run(f"document.querySelector({json.dumps(selector)}).click()")
        self.drawn()

    def mouse(self, kind: str, x: float, y: float, **options: Any) -> None:
        """`kind`: mouseMoved, mousePressed, mouseReleased or mouseWheel, as the protocol has it."""
        self._send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **options)
        self.drawn()

    def key(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self._send("Input.dispatchKeyEvent", type=kind, key=key)
        self.drawn()

    def type(self, text: str) -> None:
        """Into what has the focus."""
        self._send("Input.insertText", text=text)
        self.drawn()

    def resize(self, width: int, height: int) -> None:
        self._send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.drawn()

    def colour_scheme(self, value: str) -> None:
        """`value`: light or dark."""
        feature = {"name": "prefers-color-scheme", "value": value}
        self._send("Emulation.setEmulatedMedia", features=[feature])

    def screenshot(self) -> Image.Image:
        data = self._send("Page.captureScreenshot", format="png")["data"]
        return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self._take(answer)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._read], [], [], PATIENCE)
            assert ready, "Chromium says nothing any more"
            data = os.read(self._read, 1 << 20)
            assert data, "Chromium is gone"
            self._unread += data
        message, _, self._unread = self._unread.partition(b"\0")
        decoded: dict[str, Any] = json.loads(message)
        return decoded

    def _take(self, event: dict[str, Any]) -> None:
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(parameters["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in _BAD_CALLS:
            self.problems.append(json.dumps(parameters["args"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in _BAD_CALLS:
            self.problems.append(json.dumps(parameters["entry"]))


def _high(pipe: tuple[int, int]) -> tuple[int, int]:
    """The same pipe, out of the way."""
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_FD) for end in pipe]
    for end in pipe:
        os.close(end)
    return high[0], high[1]
