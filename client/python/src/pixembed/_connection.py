"""Where the servers are and how they are spoken to: what both clients know before any IO."""

from __future__ import annotations

import json
import os
import pathlib
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from pixembed._options import EmbedOptions, check_timeout
from pixembed._retry import Attempts, Limit, Rotation
from pixembed._stream import MESSAGE_OVERHEAD, Flight
from pixembed.errors import ServiceError, service_error
from pixembed.v1 import embedding_pb2, embedding_pb2_grpc

Pem: TypeAlias = "str | os.PathLike[str] | bytes"
"""The path of a PEM file, or what it holds as bytes."""


@dataclass(frozen=True)
class Tls:
    """How a TLS connection is made; `tls=True` is `Tls()`."""

    ca: Pem | None = None
    """Whom to trust; None: gRPC's own list of authorities."""
    cert: Pem | None = None
    """The client's certificate chain, for servers that ask for one; needs `key`."""
    key: Pem | None = None
    server_name: str = ""
    """The name that the server's certificate must bear, where it is not that of the address."""

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise ValueError("a client certificate needs both cert and key")

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises OSError where a file cannot be read, ValueError where it is not PEM."""
        return grpc.ssl_channel_credentials(
            _pem("ca", self.ca, b"CERTIFICATE"),
            _pem("key", self.key, b"PRIVATE KEY"),
            _pem("cert", self.cert, b"CERTIFICATE"),
        )


def _pem(name: str, pem: Pem | None, what: bytes) -> bytes | None:
    if pem is None:
        return None
    text = pem if isinstance(pem, bytes) else pathlib.Path(pem).read_bytes()
    if what not in text:  # what gRPC only finds out, and logs, when it connects
        where = f"has {len(text)} bytes" if isinstance(pem, bytes) else f"is {os.fspath(pem)!r}"
        raise ValueError(f'Tls.{name} {where}, and is not PEM: there is no "{what.decode()}-----"')
    return text


class Link:
    """A channel of grpc or grpc.aio, and what is called on it."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.embedding = embedding_pb2_grpc.EmbeddingServiceStub(channel)
        self.health = health_pb2_grpc.HealthStub(channel)


class Connection:
    """The part of a client that does no IO. Its arguments are those of both clients.

    `address` is a gRPC target: "host:port", "unix:path", or "dns:///name:port" (every address
    behind the name, round robin); or several of them, which calls take in turn, avoiding those that
    failed lately. `channels`: connections to each address; calls take them in turn, a stream stays
    on one. Connects at the first call.

    `tls`: True trusts gRPC's list of authorities, a Tls says more. `token`: sent as bearer token
    with every call, a function is asked each time; refused without TLS unless `insecure_token`.

    `timeout`: seconds that one call may take, its repetitions included; None is no limit. A stream
    has no limit; for so long it waits for a server that went away. Each `embed` and `embed_stream`
    may have a `timeout` of its own. `max_attempts`: tries of one call; of a stream, since its last
    result. None: as many as there is time for, a minute of them where there is no limit, and five
    while no server has answered this client. `max_in_flight_images` and `max_in_flight_bytes`: of
    one stream (an image larger than that travels alone).
    """

    def __init__(
        self,
        address: str | Sequence[str] = "localhost:50051",
        *,
        channels: int = 1,
        tls: bool | Tls = False,
        token: str | Callable[[], str] | None = None,
        insecure_token: bool = False,
        timeout: float | None = 60.0,
        max_message_bytes: int = 64 << 20,
        max_attempts: int | None = None,
        max_in_flight_images: int = 256,
        max_in_flight_bytes: int = 64 << 20,
    ) -> None:
        self._arguments = {
            "address": address,
            "channels": channels,
            "tls": tls,
            "token": token,
            "insecure_token": insecure_token,
            "timeout": timeout,
            "max_message_bytes": max_message_bytes,
            "max_attempts": max_attempts,
            "max_in_flight_images": max_in_flight_images,
            "max_in_flight_bytes": max_in_flight_bytes,
        }
        addresses = _check_addresses(address)
        for name, value, most in (
            ("channels", channels, sys.maxsize),
            ("max_attempts", 1 if max_attempts is None else max_attempts, sys.maxsize),
            ("max_message_bytes", max_message_bytes, _LARGEST_MESSAGE),
            ("max_in_flight_images", max_in_flight_images, sys.maxsize),
            ("max_in_flight_bytes", max_in_flight_bytes, sys.maxsize),
        ):
            _check_count(name, value, most)
        check_timeout(timeout)
        if not isinstance(tls, bool | Tls):
            raise TypeError(f"tls is {tls!r}; it is True, False or Tls(ca=...)")
        if token is not None and not callable(token):
            _check_token(token)
        if token is not None and not tls and not insecure_token:
            raise ValueError(
                "a token without TLS can be read by everyone on the way; "
                "insecure_token=True sends it all the same"
            )
        self._targets = addresses * channels
        self._address_count = len(addresses)
        self._tls = Tls() if tls is True else tls or None
        self._token = token
        self._timeout = timeout
        self._max_message_bytes = max_message_bytes
        self._max_attempts = max_attempts
        self._max_in_flight_images = max_in_flight_images
        self._max_in_flight_bytes = max_in_flight_bytes
        self._rotation = Rotation(len(self._targets), len(addresses))
        self._models: dict[str, embedding_pb2.Model] = {}
        self._start()

    def __reduce__(self) -> tuple[Any, ...]:
        # In another process, as of Ray, Spark or datasets, there is a new connection.
        return _connect, (type(self), self._arguments)

    def _start(self) -> None:
        """For the clients: what else is to be set up."""

    def _open(self, module: Any) -> list[Link]:
        """`module` is grpc or grpc.aio."""
        options: list[tuple[str, Any]] = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", self._max_message_bytes),
            ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2000),
            # Channels to one address shall be as many connections.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if self._tls is None:
            channels = [module.insecure_channel(target, options) for target in self._targets]
        else:
            if self._tls.server_name:
                options.append(("grpc.ssl_target_name_override", self._tls.server_name))
            credentials = self._tls.credentials()
            channels = [
                module.secure_channel(target, credentials, options) for target in self._targets
            ]
        return [Link(channel) for channel in channels]

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        if self._token is None:
            return ()
        token = self._token if isinstance(self._token, str) else self._token()
        _check_token(token)
        return (("authorization", f"Bearer {token}"),)

    def _timeout_of(self, options: EmbedOptions) -> float | None:
        return options.get("timeout", self._timeout)

    def _attempts(self, limit: Limit, most: int | None) -> Attempts:
        """`most`: where the client's arguments do not say."""
        return Attempts(self._max_attempts or most, limit)

    def _stream_attempts(self, limit: Limit, patience: float | None) -> Attempts:
        return Attempts(self._max_attempts, limit, is_stream=True, patience=patience)

    def _pause(self, channel: int, error: ServiceError, attempts: Attempts) -> float | None:
        """Seconds before a call that failed on a channel is tried again; None: it is not."""
        if error.reason:
            self._rotation.answered = True
        if error.code in ("UNAVAILABLE", "CANCELLED"):
            self._rotation.failed(channel)
        if _never_heals(error) and not self._rotation.has_good():
            return None
        return attempts.pause(error, self._rotation.has_good(), self._rotation.answered)

    def _explained(self, error: ServiceError, limit: Limit) -> ServiceError:
        """With what may be changed about it, where only this client knows."""
        hint = self._hint(error, limit)
        if not hint:
            return error
        return ServiceError(error.code, error.reason, f"{error.message}; {hint}", error.retry_delay)

    def _hint(self, error: ServiceError, limit: Limit) -> str:
        if error.code == "DEADLINE_EXCEEDED" and not error.reason:
            whose = "client" if limit.seconds == self._timeout else "call"
            return f"timeout of the {whose} is {limit.seconds} s"
        if error.code == "RESOURCE_EXHAUSTED" and not error.reason:
            return f"max_message_bytes of the client is {self._max_message_bytes}"
        if error.code != "UNAVAILABLE":
            return ""
        if self._tls is None and "Socket closed" in error.message:
            return "if the server speaks TLS, the client needs tls=True or tls=Tls(...)"
        return next((hint for said, hint in _TLS_HINTS if said in error.message), "")

    def _flight(
        self, info: embedding_pb2.Model, model: str, options: embedding_pb2.EmbedOptions
    ) -> Flight:
        return Flight(
            model,
            options,
            max_images=self._max_in_flight_images,
            max_bytes=self._max_in_flight_bytes,
            max_message_bytes=self._max_message_bytes,
            message_images=info.limits.max_request_images or sys.maxsize,
            message_bytes=self._largest_message(info),
        )

    def _largest_message(self, info: embedding_pb2.Model) -> int:
        return min(info.limits.max_message_bytes or sys.maxsize, self._max_message_bytes)

    def _one_request(
        self,
        data: Sequence[bytes],
        info: embedding_pb2.Model,
        model: str,
        options: embedding_pb2.EmbedOptions,
    ) -> embedding_pb2.EmbedRequest | None:
        """The request that carries a whole batch; None if it is too large for one."""
        size = sum(map(len, data)) + len(data) * MESSAGE_OVERHEAD
        most = info.limits.max_request_images or sys.maxsize
        if len(data) > most or size > self._largest_message(info):
            return None
        images = [embedding_pb2.Image(data=image) for image in data]
        return embedding_pb2.EmbedRequest(model=model, options=options, images=images)


_TLS_HINTS = (
    ("WRONG_VERSION_NUMBER", "the server does not speak TLS: leave tls away"),
    ("CERTIFICATE_VERIFY_FAILED", "Tls(ca=...) names whom to trust"),
    ("Hostname Verification", "Tls(server_name=...) says which name the certificate has"),
)
"""What BoringSSL and gRPC say, and what to do about it."""


def _never_heals(error: ServiceError) -> bool:
    """Whether a connection failed for what waiting does not change."""
    return error.code == "UNAVAILABLE" and any(said in error.message for said, _ in _TLS_HINTS)


_LARGEST_MESSAGE = 2**31 - 1


def _check_count(name: str, value: object, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is {value!r}; it is a whole number")
    if value < 1:
        raise ValueError(f"{name} is {value}; it must be at least 1")
    if value > most:
        raise ValueError(f"{name} is {value}; it must be at most {most}")


def check_wait(timeout: object, service: object) -> None:
    """The arguments of `wait_until_serving`."""
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout is {timeout!r}; it is seconds")
    check_service(service)


def check_service(service: object) -> None:
    if not isinstance(service, str):
        raise TypeError(f"service is {service!r}; it is a str")


def _check_token(token: object) -> None:
    if not isinstance(token, str):
        raise TypeError(f"the token is of the type {type(token).__name__}; it is a str")
    if not token:
        raise ValueError("the token is empty")
    for i, character in enumerate(token):
        if not "!" <= character <= "~":
            raise ValueError(
                f"the token has {character!r} at {i}; it has visible ASCII only, and no end of a "
                "line"
            )


def closed_error() -> ServiceError:
    return ServiceError("CANCELLED", "CANCELLED", "the client is closed", None)


def never_served(service: str, target: str, timeout: float) -> str:
    return f'service "{service}" at {target} was not SERVING within {timeout} s'


_EXPECTED_ADDRESS = 'host:port with a port from 1 to 65535, "unix:path" or "dns:///name:port"'
_UNIX = re.compile(r"unix(-abstract)?:.")
_OTHER_SCHEME = re.compile(r"(xds|google-c2p):///.")  # only gRPC can judge what follows
_IPV6 = r"\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]"
_NAME = r"[^\x00-\x20\x7f:/,\[\]@?#%\\]+"
_HOST_AND_PORT = re.compile(rf"(dns:(//[^/]*/)?)?({_IPV6}|{_NAME}):0*(?P<port>[0-9]{{1,5}})")


def _check_addresses(address: object) -> list[str]:
    """gRPC itself takes port 443 where there is none, and others for what is no port."""
    if isinstance(address, str):
        addresses: list[object] = [address]
    elif isinstance(address, Sequence) and not isinstance(address, bytes):
        addresses = list(address)
    else:
        raise TypeError(f"address is {address!r}; it is {_EXPECTED_ADDRESS}, or a list of them")
    if not addresses:
        raise ValueError(f"there is no address; expected is {_EXPECTED_ADDRESS}")
    return [_checked_address(one) for one in addresses]


def _checked_address(address: object) -> str:
    if not isinstance(address, str):
        raise TypeError(f"an address is a str, not {type(address).__name__}")
    match = _HOST_AND_PORT.fullmatch(address)
    if match is not None and 1 <= int(match["port"]) <= 65535:
        return address
    if _UNIX.match(address) or _OTHER_SCHEME.match(address):
        return address
    several = "; several addresses are a list" if "," in address else ""
    raise ValueError(f"the address {address!r} is not {_EXPECTED_ADDRESS}{several}")


def _connect(client: type[Connection], arguments: dict[str, Any]) -> Connection:
    return client(**arguments)


def raise_unless_away(error: grpc.RpcError) -> None:
    """A watch that ends because nobody listens, or no longer, begins anew."""
    if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        raise service_error(error) from error


def is_serving(response: health_pb2.HealthCheckResponse, service: str) -> bool:
    """What a watch said. Raises ServiceError if there is no such service."""
    if response.status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN:
        raise ServiceError("NOT_FOUND", "", f'no service "{service}"', None)
    return bool(response.status == health_pb2.HealthCheckResponse.SERVING)
