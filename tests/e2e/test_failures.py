"""A broken image fails alone, with its reason, whatever the call."""

import json
import pathlib

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from pixembed_fixtures import Server, broken_images, encode, picture, run_cli

from pixembed import Client, EmbedError, ServiceError
from pixembed.v1 import embedding_pb2, embedding_pb2_grpc


def batch_of_64() -> tuple[list[bytes], dict[int, str]]:
    """57 pictures and 7 broken ones between them; the reasons by position."""
    images = [encode(picture(40 + i, 30 + i % 7, i), "JPEG") for i in range(64)]
    reasons = {}
    for place, (data, reason) in enumerate(broken_images().values()):
        index = 4 + 9 * place
        images[index] = data
        reasons[index] = reason
    return images, reasons


def reason_of(status: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert status.details[0].Unpack(info)
    assert info.domain == "pixembed"
    return str(info.reason)


def test_embed_gives_57_vectors_and_7_reasons(server: Server) -> None:
    images, reasons = batch_of_64()
    with Client(server.address) as client:
        embeddings = client.embed(images, errors="return")
        assert {i: error.reason for i, error in embeddings.errors.items()} == reasons
        holes = np.flatnonzero(np.isnan(embeddings.vectors).any(axis=1))
        assert holes.tolist() == list(reasons)
        with pytest.raises(EmbedError) as raised:
            client.embed(images)
        assert raised.value.errors == embeddings.errors


@pytest.mark.parametrize("call", ["EmbedBatch", "EmbedStream"])
def test_the_streaming_calls_give_57_vectors_and_7_reasons(call: str, server: Server) -> None:
    images, reasons = batch_of_64()
    messages = [embedding_pb2.Image(data=data, id=f"id-{i}") for i, data in enumerate(images)]
    request = embedding_pb2.EmbedRequest(images=messages)
    with grpc.insecure_channel(server.address) as channel:
        stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
        answers = (
            stub.EmbedBatch(request)
            if call == "EmbedBatch"
            else stub.EmbedStream(
                embedding_pb2.EmbedRequest(images=[message]) for message in messages
            )
        )
        results = {answer.index: answer for answer in answers}
    assert sorted(results) == list(range(64))
    assert all(results[i].id == f"id-{i}" for i in results)
    failed = {i: reason_of(r.error) for i, r in results.items() if r.HasField("error")}
    assert dict(sorted(failed.items())) == reasons


def test_the_command_line_lists_them_and_exits_1(server: Server, tmp_path: pathlib.Path) -> None:
    images, reasons = batch_of_64()
    for i, data in enumerate(images):
        (tmp_path / f"{i:02}.jpg").write_bytes(data)
    output = tmp_path / "vectors.jsonl"
    run = run_cli("embed", f"--address={server.address}", f"--output={output}", str(tmp_path))
    assert run.returncode == 1
    listed = [line for line in run.stderr.splitlines() if line.startswith("failed: ")]
    assert len(listed) == 7
    for line, (index, reason) in zip(listed, reasons.items(), strict=True):
        assert line.startswith(f"failed: {tmp_path / f'{index:02}.jpg'}: {reason}: ")
    assert "57 embedded, 7 failed" in run.stderr
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert sum("embedding" in line for line in lines) == 57
    assert [line["error"]["reason"] for line in lines if "error" in line] == list(reasons.values())


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        ({"model": "other"}, "NOT_FOUND", "UNKNOWN_MODEL"),
        ({"dimensions": 100_000}, "INVALID_ARGUMENT", "INVALID_OPTION"),
        ({"expected_fingerprint": "0" * 64}, "FAILED_PRECONDITION", "FINGERPRINT_MISMATCH"),
    ],
)
def test_a_wrong_option_fails_the_call_with_a_reason(
    options: dict[str, object],
    code: str,
    reason: str,
    server: Server,
    pictures: dict[str, bytes],
) -> None:
    with Client(server.address) as client, pytest.raises(ServiceError) as raised:
        client.embed(pictures.values(), **options)  # type: ignore[call-overload]
    assert (raised.value.code, raised.value.reason) == (code, reason)
