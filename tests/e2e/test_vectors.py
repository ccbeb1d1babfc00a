"""The vectors of the running service are those of the real transformers."""

import json
import pathlib

import grpc
import numpy as np
import pytest
from pixembed_fixtures import Server, StartServer, encode, picture, reference, run_cli

from pixembed import Client
from pixembed.v1 import embedding_pb2, embedding_pb2_grpc

TOLERANCE = 1e-5


@pytest.mark.parametrize("model", ["vit", "dinov2"])
def test_every_format_gives_the_references_vector(
    model: str,
    request: pytest.FixtureRequest,
    server: Server,
    pictures: dict[str, bytes],
) -> None:
    expected = reference(request.getfixturevalue(model), list(pictures.values()))
    with Client(server.address) as client:
        vectors = client.embed(pictures.values(), model=model)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=TOLERANCE)


def test_images_that_keep_their_aspect_ratio_give_the_references_vectors(
    naflex: pathlib.Path, start_server: StartServer, pictures: dict[str, bytes]
) -> None:
    images = [*pictures.values(), encode(picture(120, 100, 9), "PNG")]  # the last of all patches
    expected = reference(naflex, images)
    server = start_server(f"--model=naflex={naflex}", "--max_batch_size=8")
    with Client(server.address) as client:
        (model,) = client.models()
        assert set(model.fingerprints) == {"mean", "masked_mean", "max"}
        assert (model.tokens, model.preprocessing.max_patches) == (30, 30)
        assert model.preprocessing.resize == "at most 30 patches of 8x8"
        vectors = client.embed(images)
        np.testing.assert_allclose(vectors, expected, rtol=0, atol=TOLERANCE)
        for i, data in enumerate(images):
            alone = client.embed([data])
            np.testing.assert_allclose(alone[0], expected[i], rtol=0, atol=TOLERANCE)
        masked = client.embed(images, pooling="masked_mean")
        patches = [client.explain(data).patches for data in images]
    full = np.array(patches) == 30
    assert 0 < np.count_nonzero(full) < len(patches)
    np.testing.assert_allclose(masked[full], expected[full], rtol=0, atol=TOLERANCE)
    assert (np.abs(masked - expected)[~full].max(axis=1) > 100 * TOLERANCE).all()


def test_an_image_alone_gives_the_vector_that_it_gives_in_a_batch(
    server: Server, pictures: dict[str, bytes]
) -> None:
    with Client(server.address) as client:
        together = client.embed(pictures.values())
        for i, data in enumerate(pictures.values()):
            alone = client.embed([data])
            np.testing.assert_allclose(alone[0], together[i], rtol=0, atol=TOLERANCE)


def test_the_three_calls_agree(server: Server, pictures: dict[str, bytes]) -> None:
    request = embedding_pb2.EmbedRequest(
        images=[embedding_pb2.Image(data=data) for data in pictures.values()]
    )
    with Client(server.address) as client, grpc.insecure_channel(server.address) as channel:
        unary = client.embed(pictures.values())
        stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
        results = [list(stub.EmbedBatch(request)), list(stub.EmbedStream(iter([request])))]
    for answers in results:
        assert sorted(r.index for r in answers) == list(range(len(pictures)))
        for answer in answers:
            np.testing.assert_allclose(
                answer.embedding.values, unary[answer.index], rtol=0, atol=TOLERANCE
            )


@pytest.mark.parametrize("options", [{}, {"pooling": "cls", "normalize": True, "dimensions": 16}])
def test_the_command_line_writes_the_same_vectors(
    options: dict[str, object],
    server: Server,
    pictures: dict[str, bytes],
    picture_directory: pathlib.Path,
    tmp_path: pathlib.Path,
) -> None:
    with Client(server.address) as client:
        expected = client.embed(pictures.values(), errors="return", **options)  # type: ignore[call-overload]
    flags = [f"--{name}={value}".replace("True", "true") for name, value in options.items()]
    paths = [str(picture_directory / name) for name in pictures]

    npy = tmp_path / "vectors.npy"
    run = run_cli(
        "embed", f"--address={server.address}", f"--output={npy}", *flags, str(picture_directory)
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == ""
    vectors = np.load(npy)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected.vectors, rtol=0, atol=TOLERANCE)
    ids = json.loads((tmp_path / "vectors.ids.json").read_text())
    assert ids == {"ids": paths, "fingerprint": expected.fingerprint}

    jsonl = tmp_path / "vectors.jsonl"
    run = run_cli("embed", f"--address={server.address}", f"--output={jsonl}", *flags, *paths)
    assert run.returncode == 0, run.stderr
    lines = [json.loads(line) for line in jsonl.read_text().splitlines()]
    assert [line["id"] for line in lines] == paths
    np.testing.assert_allclose(
        [line["embedding"] for line in lines], expected.vectors, rtol=0, atol=TOLERANCE
    )


def test_the_command_line_reads_an_image_from_standard_input(
    server: Server, picture_directory: pathlib.Path
) -> None:
    with (picture_directory / "rgb.png").open("rb") as image:
        run = run_cli("embed", f"--address={server.address}", "-", stdin=image)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split()[:2] == ["-", "32"]


def test_a_normalized_quantised_vector_stays_near(
    server: Server, pictures: dict[str, bytes]
) -> None:
    with Client(server.address) as client:
        exact = client.embed(pictures.values(), normalize=True)
        np.testing.assert_allclose(np.linalg.norm(exact, axis=1), 1, atol=1e-5)
        half = client.embed(pictures.values(), normalize=True, data_type="float16")
        np.testing.assert_allclose(half, exact, atol=1e-3)
        brain = client.embed(pictures.values(), normalize=True, data_type="bfloat16")
        np.testing.assert_allclose(brain, exact, atol=4e-3)
        int8 = client.embed(pictures.values(), normalize=True, data_type="int8")
        np.testing.assert_allclose(int8, exact, atol=1 / 127)
        binary = client.embed(pictures.values(), normalize=True, data_type="binary")
        np.testing.assert_array_equal(binary, exact > 0)
