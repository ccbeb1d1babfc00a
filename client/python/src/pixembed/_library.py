"""libpixembed_engine.so: where it is, and its C ABI (embedded/pixembed_engine.h) for Python."""

from __future__ import annotations

import ctypes
import os
import pathlib
import shutil
import sys
from collections.abc import Callable, Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_size_t, c_uint64, c_void_p
from typing import Any

from google.rpc import status_pb2

from pixembed.errors import status_error

NAME = "libpixembed_engine.so"
VARIABLE = "PIXEMBED_ENGINE_LIBRARY"

_ABI = 1
_DEADLINE_EXCEEDED = 4
_OUT_OF_RANGE = 11


class _Bytes(ctypes.Structure):
    _fields_ = (("data", c_void_p), ("size", c_size_t))


_LOG = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_char_p)
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "pixembed_engine_abi": (c_int, []),
    "pixembed_bytes_free": (None, [POINTER(_Bytes)]),
    "pixembed_engine_open": (
        c_int,
        [POINTER(c_char_p), c_size_t, _LOG, c_void_p, POINTER(c_void_p), POINTER(_Bytes)],
    ),
    "pixembed_engine_models": (c_int, [c_void_p, POINTER(_Bytes), POINTER(_Bytes)]),
    "pixembed_engine_explain": (
        c_int,
        [c_void_p, c_char_p, c_size_t, POINTER(_Bytes), POINTER(_Bytes)],
    ),
    "pixembed_engine_close": (None, [c_void_p]),
    "pixembed_stream_open": (
        c_int,
        [c_void_p, c_char_p, c_size_t, POINTER(c_void_p), POINTER(_Bytes)],
    ),
    "pixembed_stream_submit": (
        c_int,
        [c_void_p, c_char_p, c_size_t, c_int64, POINTER(c_uint64), POINTER(_Bytes)],
    ),
    "pixembed_stream_end": (None, [c_void_p]),
    "pixembed_stream_take": (c_int, [c_void_p, c_int64, POINTER(_Bytes), POINTER(_Bytes)]),
    "pixembed_stream_cancel": (None, [c_void_p]),
    "pixembed_stream_close": (None, [c_void_p]),
}


class Library:
    """The functions of the ABI, with exceptions for codes. Calls run without the GIL."""

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        """`path`: None looks for it (`find`). Raises OSError where it cannot be loaded."""
        file = find() if path is None else os.fspath(path)
        try:
            self._library = ctypes.CDLL(file)
        except OSError as error:
            raise OSError(f"the engine's library cannot be loaded: {error}{_why()}") from error
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(self._library, name, None)
            if function is None:
                raise OSError(f"{file} is not the engine's library: it lacks {name}")
            function.restype = result
            function.argtypes = arguments
        abi = self._library.pixembed_engine_abi()
        if abi != _ABI:
            raise OSError(f"{file} speaks version {abi} of the ABI; this package speaks {_ABI}")

    def open(self, flags: Sequence[str], log: Callable[[bool, str], object]) -> int:
        """The handle. Raises ServiceError."""
        words = (c_char_p * len(flags))(*(flag.encode() for flag in flags))
        line = _LOG(lambda context, warning, text: _log(log, warning, text))
        handle = c_void_p()
        error = _Bytes()
        self._check(
            self._library.pixembed_engine_open(
                words, len(flags), line, None, byref(handle), byref(error)
            ),
            error,
        )
        assert handle.value is not None
        return handle.value

    def models(self, engine: int) -> bytes:
        """A ListModelsResponse."""
        response, error = _Bytes(), _Bytes()
        code = self._library.pixembed_engine_models(engine, byref(response), byref(error))
        self._check(code, error)
        return self._take(response)

    def explain(self, engine: int, request: bytes) -> bytes:
        """An ImageExplanation. Raises ServiceError."""
        response, error = _Bytes(), _Bytes()
        code = self._library.pixembed_engine_explain(
            engine, request, len(request), byref(response), byref(error)
        )
        self._check(code, error)
        return self._take(response)

    def close(self, engine: int) -> None:
        self._library.pixembed_engine_close(engine)

    def open_stream(self, engine: int, request: bytes) -> int:
        """The handle. Raises ServiceError."""
        handle, error = c_void_p(), _Bytes()
        code = self._library.pixembed_stream_open(
            engine, request, len(request), byref(handle), byref(error)
        )
        self._check(code, error)
        assert handle.value is not None
        return handle.value

    def submit(self, stream: int, image: bytes, timeout_ms: int) -> None:
        """Raises ServiceError."""
        error = _Bytes()
        code = self._library.pixembed_stream_submit(
            stream, image, len(image), timeout_ms, None, byref(error)
        )
        self._check(code, error)

    def end(self, stream: int) -> None:
        self._library.pixembed_stream_end(stream)

    def take(self, stream: int, timeout_ms: int) -> bytes | None:
        """An EmbedResponse; empty: nothing came in time; None: the end. Raises ServiceError."""
        response, error = _Bytes(), _Bytes()
        code = self._library.pixembed_stream_take(stream, timeout_ms, byref(response), byref(error))
        if code == _OUT_OF_RANGE:
            return None
        if code == _DEADLINE_EXCEEDED:
            return b""
        self._check(code, error)
        return self._take(response)

    def cancel(self, stream: int) -> None:
        self._library.pixembed_stream_cancel(stream)

    def close_stream(self, stream: int) -> None:
        self._library.pixembed_stream_close(stream)

    def _take(self, given: _Bytes) -> bytes:
        try:
            return ctypes.string_at(given.data, given.size) if given.data else b""
        finally:
            self._library.pixembed_bytes_free(byref(given))

    def _check(self, code: int, error: _Bytes) -> None:
        status = status_pb2.Status.FromString(self._take(error))
        if code != 0:
            status.code = code
            raise status_error(status)


def find() -> str:
    """Where PIXEMBED_ENGINE_LIBRARY says; else in lib/ beside the bin/ of the pixembed-server that
    PATH finds; else the system's loader decides."""
    named = os.environ.get(VARIABLE)
    if named:
        return named
    server = shutil.which("pixembed-server")
    if server is not None:
        beside = pathlib.Path(server).resolve().parents[1] / "lib" / NAME
        if beside.exists():
            return str(beside)
    return NAME


def _log(log: Callable[[bool, str], object], warning: int, text: bytes) -> None:
    log(bool(warning), text.decode(errors="replace"))


def _why() -> str:
    """What else may be wrong, beside what the loader says."""
    torch = sys.modules.get("torch")
    if torch is None:
        return f" (it is looked for as README.md says; {VARIABLE} names it)"
    return (
        f" (this process has torch {getattr(torch, '__version__', 'of unknown version')} loaded, "
        "which has to be of the version that the engine was built with)"
    )
