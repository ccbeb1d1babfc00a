"""What can go wrong, with the server's reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import grpc
from google.rpc import error_details_pb2, status_pb2

_DETAILS_KEY = "grpc-status-details-bin"


class PixembedError(Exception):
    """Base of everything that this package raises by itself."""


@dataclass(frozen=True)
class ImageError:
    """Why one image has no vector."""

    code: str
    """The name of the status code: "INVALID_ARGUMENT"."""
    reason: str
    """What happened, in a word that never changes: "TRUNCATED_IMAGE"; empty if unknown."""
    message: str

    def __str__(self) -> str:
        return f"{self.reason or self.code}: {self.message}"


class EmbedError(PixembedError):
    """Some images of a batch failed. The others are in `vectors`."""

    def __init__(self, errors: Mapping[int, ImageError], embeddings: object) -> None:
        first = min(errors)
        super().__init__(
            f"{len(errors)} images failed; image {first}: {errors[first]}"
            if len(errors) > 1
            else f"image {first}: {errors[first]}"
        )
        self.errors = dict(errors)
        """By position in the batch."""
        self.embeddings = embeddings
        """What errors="return" would have returned."""


class ServiceError(PixembedError):
    """A call failed as a whole."""

    def __init__(self, code: str, reason: str, message: str, retry_delay: timedelta | None) -> None:
        super().__init__(f"{reason or code}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_delay = retry_delay
        """When the server said to come back, if it did."""


def _code_name(number: int) -> str:
    return next((code.name for code in grpc.StatusCode if code.value[0] == number), str(number))


def _reason(status: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    return next((info.reason for detail in status.details if detail.Unpack(info)), "")


def image_error(status: status_pb2.Status) -> ImageError:
    return ImageError(_code_name(status.code), _reason(status), status.message)


def _retry_delay(status: status_pb2.Status) -> timedelta | None:
    retry = error_details_pb2.RetryInfo()
    return next(
        (retry.retry_delay.ToTimedelta() for detail in status.details if detail.Unpack(retry)), None
    )


def status_error(status: status_pb2.Status) -> ServiceError:
    return ServiceError(
        _code_name(status.code), _reason(status), status.message, _retry_delay(status)
    )


def service_error(error: grpc.RpcError) -> ServiceError:
    """The error of a call, with the details that came in its trailing metadata."""
    status = status_pb2.Status()
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY:
            status.ParseFromString(value)
    return ServiceError(
        error.code().name, _reason(status), error.details() or "", _retry_delay(status)
    )
