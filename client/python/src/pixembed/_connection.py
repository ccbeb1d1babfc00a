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

from pixembed._retry import Attempts, Rotation
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
        """Raises OSError where a file cannot be read."""
        return grpc.ssl_channel_credentials(_pem(self.ca), _pem(self.key), _pem(self.cert))


def _pem(pem: Pem | None) -> bytes | None:
    return pem if pem is None or isinstance(pem, bytes) else pathlib.Path(pem).read_bytes()


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
    has no limit; for so long it waits for a server that went away. `max_attempts`: tries of one
    call; of a stream, since its last result. `max_in_flight_images` and `max_in_flight_bytes`: of
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
        max_attempts: int = 5,
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
        addresses = [address] if isinstance(address, str) else list(address)
        _check_addresses(addresses)
        for name, value in (
            ("channels", channels),
            ("max_attempts", max_attempts),
            ("max_in_flight_images", max_in_flight_images),
            ("max_in_flight_bytes", max_in_flight_bytes),
        ):
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
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
            ("grpc.max_reconnect_backoff_ms", 5000),
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
        return (("authorization", f"Bearer {token}"),)

    def _attempts(self) -> Attempts:
        return Attempts(self._max_attempts, self._timeout)

    def _pause(self, channel: int, error: ServiceError, attempts: Attempts) -> float | None:
        """Seconds before a call that failed on a channel is tried again; None: it is not."""
        if error.code in ("UNAVAILABLE", "CANCELLED"):
            self._rotation.failed(channel)
        return attempts.pause(error, self._rotation.has_good())

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


_EXPECTED_ADDRESS = 'host:port with a port from 1 to 65535, "unix:path" or "dns:///name:port"'
_UNIX = re.compile(r"unix(-abstract)?:.")
_OTHER_SCHEME = re.compile(r"(ipv4|ipv6|xds|google-c2p):")  # only gRPC can judge what follows
_HOST_AND_PORT = re.compile(r"(dns:(//[^/]*/)?)?(\[[^\]]+\]|[^:/,\s\[\]]+):0*(?P<port>[0-9]{1,5})")


def _check_addresses(addresses: Sequence[str]) -> None:
    """gRPC itself takes port 443 where there is none, and others for what is no port."""
    if not addresses:
        raise ValueError(f"there is no address; expected is {_EXPECTED_ADDRESS}")
    for address in addresses:
        if not isinstance(address, str):
            raise TypeError(f"an address is a str, not {type(address).__name__}")
        if _UNIX.match(address) or _OTHER_SCHEME.match(address):
            continue
        match = _HOST_AND_PORT.fullmatch(address)
        if match is None or not 1 <= int(match["port"]) <= 65535:
            raise ValueError(f"the address {address!r} is not {_EXPECTED_ADDRESS}")


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
