"""Which server a call reaches, by which channel, under which cover."""

from __future__ import annotations

import asyncio
import json
import pathlib
import pickle
from typing import Any

import grpc
import numpy as np
import pytest
from fake_services import Fake, serving
from pixembed_fixtures import Pki, Server, StartServer, encode, picture

from pixembed import AsyncClient, Client, ServiceError, Tls

IMAGE = encode(picture(40, 30, 1), "PNG")


# The table that the clients in Go and C++ are held to, too.
ADDRESSES: dict[str, list[str]] = json.loads(
    (pathlib.Path(__file__).parents[3] / "tests/data/addresses.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("address", [*ADDRESSES["taken"], "xds:///name"])
def test_an_address_that_grpc_reads_as_it_is_written_is_taken(address: str) -> None:
    Client(address).close()


@pytest.mark.parametrize("address", [*ADDRESSES["refused"], "a:1,b:1", "xds:///", "xds:name"])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_one_that_would_reach_another_port_or_none_is_refused(kind: Any, address: str) -> None:
    with pytest.raises(ValueError, match=r"not host:port with a port from 1 to 65535") as raised:
        kind(["localhost:1", address])
    assert repr(address) in str(raised.value)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ([50051], "an address is a str, not int"),
        (50051, "address is 50051; it is host:port"),
        (None, "address is None; it is host:port .*, or a list of them"),
        (b"localhost:1", "address is b'localhost:1'; it is host:port"),
    ],
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_an_address_of_another_type_is_named(kind: Any, address: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        kind(address)


def test_several_addresses_in_one_text_are_told_to_be_a_list() -> None:
    with pytest.raises(ValueError, match="several addresses are a list"):
        Client("a:1,b:1")


class Counting(Fake):
    def __init__(self) -> None:
        self.peers: list[str] = []

    def Embed(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self.peers.append(context.peer())
        return super().Embed(request, context)


def test_calls_take_several_addresses_in_turn() -> None:
    services = [Counting(), Counting(), Counting()]
    with serving(services[0]) as a, serving(services[1]) as b, serving(services[2]) as c:
        addresses = [f"127.0.0.1:{a}", f"localhost:{b}", f"dns:///localhost:{c}"]
        with Client(addresses) as client:
            for _ in range(9):
                client.embed([b"x"])
    assert [len(service.peers) for service in services] == [3, 3, 3]


def test_channels_are_as_many_connections() -> None:
    service = Counting()
    with serving(service) as port:
        with Client(f"127.0.0.1:{port}", channels=3) as client:
            for _ in range(9):
                client.embed([b"x"])

        async def embed() -> None:
            async with AsyncClient(f"127.0.0.1:{port}", channels=2) as client:
                for _ in range(9):
                    await client.embed([b"x"])

        assert len(set(service.peers)) == 3
        asyncio.run(embed())
    assert len(set(service.peers)) == 5


def test_a_client_connects_anew_where_it_is_unpickled(server: Server) -> None:
    with Client(server.address, channels=2, max_attempts=3) as client:
        expected = client.embed([IMAGE])
        pickled = pickle.dumps(client)
    with pickle.loads(pickled) as again:
        np.testing.assert_array_equal(again.embed([IMAGE]), expected)
        assert pickle.dumps(again) == pickled


def test_an_address_where_nobody_listens_costs_no_call(
    vit: pathlib.Path, start_server: StartServer
) -> None:
    first, second = start_server(f"--model={vit}"), start_server(f"--model={vit}")
    with Client([first.address, second.address]) as client:
        client.wait_until_serving(60)
        expected = client.embed([IMAGE])
        first.kill()
        for _ in range(6):
            np.testing.assert_allclose(client.embed([IMAGE]), expected, rtol=0, atol=1e-5)
        assert len(list(client.embed_stream([IMAGE] * 20))) == 20


def test_a_stream_goes_on_at_another_address(vit: pathlib.Path, start_server: StartServer) -> None:
    servers = [start_server(f"--model={vit}"), start_server(f"--model={vit}")]
    with Client([server.address for server in servers], max_in_flight_images=20) as client:
        indices = []
        for result in client.embed_stream(IMAGE for _ in range(200)):
            indices.append(result.index)
            if len(indices) == 30:
                # After GetModel at the first address the stream is at the second.
                servers[1].kill()
            if len(indices) == 100:
                servers.append(start_server(f"--model={vit}", listen=servers[1].address))
                servers[2].address  # noqa: B018  waits until it serves
                servers[0].kill()
    assert sorted(indices) == list(range(200))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"address": []}, "no address"),
        ({"channels": 0}, "channels is 0"),
        ({"max_attempts": 0}, "max_attempts is 0"),
        ({"max_in_flight_images": 0}, "max_in_flight_images is 0"),
        ({"max_in_flight_bytes": 0}, "max_in_flight_bytes is 0"),
        ({"max_message_bytes": 0}, "max_message_bytes is 0"),
        ({"max_message_bytes": 2**31}, "at most 2147483647"),
        ({"timeout": 0}, "timeout is 0; it is more than 0 seconds"),
        ({"timeout": -1}, "timeout is -1"),
        ({"timeout": float("nan")}, "timeout is nan"),
        ({"timeout": float("inf")}, "timeout is inf; .* None for no limit"),
        ({"token": "secret"}, "insecure_token"),
        ({"token": "", "tls": True}, "the token is empty"),
        ({"token": "secret\n", "tls": True}, r"the token has '\\n' at 6"),
        ({"token": "Bearer secret", "tls": True}, "the token has ' ' at 6"),
        ({"tls": Tls(ca=b"garbage")}, "Tls.ca has 7 bytes, and is not PEM"),
        ({"tls": Tls(ca=__file__)}, r"Tls.ca is '.*test_connection.py', and is not PEM"),
    ],
)
def test_an_argument_that_cannot_be_meant_is_refused(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Client(**arguments)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"channels": "2"}, "channels is '2'; it is a whole number"),
        ({"channels": 1.5}, "channels is 1.5"),
        ({"max_attempts": "5"}, "max_attempts is '5'"),
        ({"timeout": "5"}, "timeout is '5'; it is seconds"),
        ({"tls": "ca.pem"}, r"tls is 'ca.pem'; it is True, False or Tls\(ca=...\)"),
        ({"token": 3, "tls": True}, "the token is of the type int"),
    ],
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_an_argument_of_another_type_is_named(
    kind: Any, arguments: dict[str, Any], text: str
) -> None:
    with pytest.raises(TypeError, match=text):
        kind(**arguments)


def test_a_token_is_looked_at_whenever_it_is_asked_for() -> None:
    for token, error in ((None, TypeError), ("secret\n", ValueError)):
        client = Client("localhost:1", token=lambda: token, insecure_token=True)  # type: ignore[arg-type, return-value]  # noqa: B023
        with client, pytest.raises(error, match="the token "):
            client.models()


@pytest.fixture
def secure(vit: pathlib.Path, start_server: StartServer, pki: Pki, tmp_path: pathlib.Path) -> str:
    """The address of a real server that wants certificates and one of four tokens."""
    tokens = tmp_path / "tokens"
    tokens.write_text("secret\n" + "".join(f"secret-{i}\n" for i in range(3)))
    return start_server(
        f"--model={vit}",
        f"--tls_certificate_file={pki.server_cert}",
        f"--tls_private_key_file={pki.server_key}",
        f"--tls_client_ca_file={pki.ca}",
        f"--auth_token_file={tokens}",
    ).address


def mutual(pki: Pki) -> Tls:
    return Tls(pki.ca, pki.client_cert, str(pki.client_key), server_name="embeddings.test")


def test_tls_with_certificates_of_both_sides_and_a_token(
    secure: str, server: Server, pki: Pki
) -> None:
    # One token a call: GetModel, Embed, EmbedStream. The server knows no fourth.
    tokens = iter(f"secret-{i}" for i in range(100))
    with Client(server.address) as client:
        expected = client.embed([IMAGE])
    with Client(secure, tls=mutual(pki), token=lambda: next(tokens)) as client:
        np.testing.assert_array_equal(client.embed([IMAGE]), expected)
        assert len(list(client.embed_stream([IMAGE] * 3))) == 3
        with pytest.raises(ServiceError) as raised:
            client.embed([IMAGE])
        assert (raised.value.code, raised.value.reason) == ("UNAUTHENTICATED", "INVALID_TOKEN")
    assert next(tokens) == "secret-4"


def test_tls_for_tasks(secure: str, pki: Pki) -> None:
    ca, cert, key = (pem.read_bytes() for pem in (pki.ca, pki.client_cert, pki.client_key))
    tls = Tls(ca, cert, key, server_name="embeddings.test")

    async def embed(token: str) -> Any:
        async with AsyncClient(secure, tls=tls, token=token) as client:
            results = [result async for result in client.embed_stream([IMAGE] * 3)]
            return len(results), await client.embed([IMAGE])

    count, vectors = asyncio.run(embed("secret"))
    assert (count, vectors.shape) == (3, (1, 32))
    with pytest.raises(ServiceError) as raised:
        asyncio.run(embed("other"))
    assert (raised.value.code, raised.value.reason) == ("UNAUTHENTICATED", "INVALID_TOKEN")


@pytest.mark.parametrize("wrong", ["authority", "name", "no certificate", "no tls"])
def test_tls_that_does_not_fit_is_unavailable(wrong: str, secure: str, pki: Pki) -> None:
    tls: Any = {
        "authority": True,  # gRPC's own list
        "name": Tls(pki.ca, pki.client_cert, pki.client_key),
        "no certificate": Tls(pki.ca, server_name="embeddings.test"),
        "no tls": False,
    }[wrong]
    with Client(secure, tls=tls, max_attempts=2) as client:
        with pytest.raises(ServiceError) as raised:
            client.embed([IMAGE])
        assert raised.value.code == "UNAVAILABLE"
        hint = {"authority": "Tls(ca=...)", "name": "Tls(server_name=...)", "no tls": "tls=True"}
        assert hint.get(wrong, "") in raised.value.message


def test_tls_to_a_server_without_says_so(server: Server) -> None:
    with (
        # Waiting would mend nothing.
        Client(server.address, tls=True, timeout=3600) as client,
        pytest.raises(ServiceError, match="the server does not speak TLS"),
    ):
        client.models()


def test_a_token_without_tls_needs_a_word(
    vit: pathlib.Path, start_server: StartServer, tmp_path: pathlib.Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("secret\n")
    server = start_server(f"--model={vit}", f"--auth_token_file={tokens}")
    with Client(server.address, token="secret", insecure_token=True) as client:
        assert client.embed([IMAGE]).shape == (1, 32)


def test_a_certificate_needs_its_key_and_both_their_files(pki: Pki) -> None:
    with pytest.raises(ValueError, match="both cert and key"):
        Tls(cert=pki.client_cert)
    with pytest.raises(FileNotFoundError):
        Client(tls=Tls(ca="/none/ca.pem"))
