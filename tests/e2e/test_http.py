"""The HTTP bridge of the real server, asked by clients that people have: openai, curl, urllib."""

import base64
import json
import pathlib
import subprocess
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest
from PIL import Image
from pixembed_fixtures import PATIENCE, Server, StartServer, encode, picture

from pixembed import Client

IMAGES = [encode(picture(60 + 10 * i, 50, i), "JPEG") for i in range(3)]


@pytest.fixture
def bridge(vit: pathlib.Path, start_server: StartServer) -> Server:
    return start_server(f"--model=vit={vit}", "--http_listen=127.0.0.1:0")


@pytest.fixture
def native(bridge: Server) -> Iterator[Client]:
    with Client(bridge.address) as client:
        yield client


def data_uri(image: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(image).decode()


def post(url: str, body: Any) -> Any:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        return json.load(response)


def test_the_openai_client_gets_the_vectors_of_the_native_api(
    bridge: Server, native: Client
) -> None:
    expected = native.embed(IMAGES)
    client = openai.OpenAI(base_url=f"{bridge.http}/v1", api_key="none", max_retries=0)
    # encoding_format is not given: the client asks for base64 and decodes it.
    response = client.embeddings.create(model="vit", input=[data_uri(i) for i in IMAGES])
    vectors = np.array([item.embedding for item in response.data], dtype=np.float32)
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-6)
    short = client.embeddings.create(
        model="vit",
        input=data_uri(IMAGES[0]),
        dimensions=8,
        encoding_format="float",
        extra_body={"normalize": True, "modality": "image"},
    )
    np.testing.assert_allclose(
        np.array(short.data[0].embedding, dtype=np.float32),
        native.embed(IMAGES[:1], dimensions=8, normalize=True)[0],
        rtol=0,
        atol=1e-6,
    )
    assert [model.id for model in client.models.list()] == ["vit"]
    assert client.models.retrieve("vit") == next(iter(client.models.list()))


def test_the_openai_client_sees_what_is_wrong(bridge: Server) -> None:
    client = openai.OpenAI(base_url=f"{bridge.http}/v1", api_key="none", max_retries=0)
    with pytest.raises(openai.BadRequestError) as bad_image:
        client.embeddings.create(model="vit", input=[data_uri(IMAGES[0]), data_uri(b"x")])
    assert bad_image.value.code == "UNSUPPORTED_FORMAT"
    assert "image 1: " in str(bad_image.value)
    with pytest.raises(openai.NotFoundError) as no_model:
        client.embeddings.create(model="clip", input=data_uri(IMAGES[0]))
    assert no_model.value.code == "UNKNOWN_MODEL"
    with pytest.raises(openai.NotFoundError, match='no model named "org/clip"') as no_such:
        client.models.retrieve("org/clip")
    assert no_such.value.code == "UNKNOWN_MODEL"
    with pytest.raises(openai.BadRequestError, match="none is ever fetched"):
        client.embeddings.create(model="vit", input="https://example.com/cat.jpg")


def test_curl_sends_files_and_gets_a_result_for_each(
    bridge: Server, native: Client, tmp_path: pathlib.Path
) -> None:
    paths = [tmp_path / f"{i}.jpg" for i in range(3)]
    for path, image in zip(paths, IMAGES, strict=True):
        path.write_bytes(image)
    paths[1].write_bytes(b"broken")
    arguments = [f"-Fimage=@{path}" for path in paths] + ["-Fnormalize=true"]
    result = subprocess.run(
        ["curl", "-sS", "--fail", *arguments, f"{bridge.http}/v1/embed"],
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    answer = json.loads(result.stdout)
    assert [r["id"] for r in answer["results"]] == ["0.jpg", "1.jpg", "2.jpg"]
    assert answer["results"][1]["error"]["code"] == "UNSUPPORTED_FORMAT"
    expected = native.embed(IMAGES, normalize=True)
    for i in (0, 2):
        np.testing.assert_allclose(
            answer["results"][i]["embedding"], expected[i], rtol=0, atol=1e-6
        )
    wrong = subprocess.run(
        ["curl", "-sS", f"-Ffile=@{paths[0]}", f"{bridge.http}/v1/embed"],
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    assert 'each image goes in a field "image"' in json.loads(wrong.stdout)["error"]["message"]
    raw = subprocess.run(
        ["curl", "-sS", "--fail", "--data-binary", f"@{paths[0]}", f"{bridge.http}/v1/embed"],
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    assert len(json.loads(raw.stdout)["results"][0]["embedding"]) == 32


def test_a_large_body_arrives_whole(bridge: Server) -> None:
    # Noise does not compress: some megabytes, for which curl waits for "100 Continue".
    noise = np.random.default_rng(0).integers(0, 256, (1100, 1100, 3), dtype=np.uint8)
    image = encode(Image.fromarray(noise), "PNG")
    assert len(image) > 3_000_000
    result = subprocess.run(
        ["curl", "-sS", "--fail", "--data-binary", "@-", f"{bridge.http}/v1/embed"],
        input=image,
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    assert len(json.loads(result.stdout)["results"][0]["embedding"]) == 32


def test_weaviates_modules_are_answered_as_their_containers_do(
    bridge: Server, native: Client
) -> None:
    expected = native.embed(IMAGES)
    images = [base64.b64encode(image).decode() for image in IMAGES]
    answer = post(f"{bridge.http}/vectorize", {"texts": [], "images": images})
    assert answer["textVectors"] == []
    np.testing.assert_allclose(answer["imageVectors"], expected, rtol=0, atol=1e-6)
    one = post(f"{bridge.http}/vectors", {"id": "7", "image": images[2]})
    assert (one["id"], one["dim"]) == ("7", 32)
    np.testing.assert_allclose(one["vector"], expected[2], rtol=0, atol=1e-6)
    with urllib.request.urlopen(f"{bridge.http}/meta", timeout=PATIENCE) as response:
        assert json.load(response)["models"][0]["name"] == "vit"
    with urllib.request.urlopen(f"{bridge.http}/.well-known/ready", timeout=PATIENCE) as response:
        assert response.status == 204
