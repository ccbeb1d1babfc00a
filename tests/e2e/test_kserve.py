"""KServe v2, as the world's clients speak it: Triton's own client and load generator, unmodified.

Runs in the Python that has tritonclient (PIXEMBED_TRITON_PYTHON). What the native API says comes
from the program pixembed: the Python package wants another protobuf than tritonclient.
"""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import json
import os
import pathlib
import queue
import re
import shutil
import struct
import subprocess
import threading
from collections.abc import AsyncIterator

import numpy as np
import pytest
import safetensors.numpy
import transformers
import tritonclient.grpc
import tritonclient.grpc.aio
from google.protobuf import descriptor_pb2
from numpy.typing import NDArray
from pixembed_fixtures import (
    PATIENCE,
    Server,
    StartServer,
    broken_images,
    encode,
    picture,
    reference,
    run_cli,
)
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.utils import InferenceServerException

PROTO = pathlib.Path(__file__).parents[2] / "proto"
TOLERANCE = 1e-5
SERVICE = "inference.GRPCInferenceService"


def client_of(server: Server) -> tritonclient.grpc.InferenceServerClient:
    return tritonclient.grpc.InferenceServerClient(server.address)


def images_input(images: list[bytes], *, column: bool = True) -> tritonclient.grpc.InferInput:
    shape = [len(images), 1] if column else [len(images)]
    tensor = tritonclient.grpc.InferInput("images", shape, "BYTES")
    tensor.set_data_from_numpy(np.array(images, dtype=np.object_).reshape(shape))
    return tensor


def outputs(*names: str) -> list[tritonclient.grpc.InferRequestedOutput]:
    return [tritonclient.grpc.InferRequestedOutput(name) for name in names]


def native(
    server: Server, directory: pathlib.Path, images: list[bytes], *flags: str
) -> tuple[NDArray[np.float32], str]:
    """The vectors and the fingerprint that pixembed.v1 gives."""
    directory.mkdir()
    paths = [directory / f"{i:03}" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(image)
    output = directory / "vectors.npy"
    run = run_cli(
        "embed", f"--address={server.address}", f"--output={output}", *flags, *map(str, paths)
    )
    assert run.returncode == 0, run.stderr
    return np.load(output), json.loads(output.with_suffix(".ids.json").read_text())["fingerprint"]


# The definitions of a .proto file, in a form that can be compared.
Definitions = dict[str, object]


def definitions(file: descriptor_pb2.FileDescriptorProto) -> Definitions:
    found: Definitions = {}

    def add_enum(prefix: str, enum: descriptor_pb2.EnumDescriptorProto) -> None:
        for value in enum.value:
            found[f"{prefix}{enum.name}.{value.name}"] = value.number

    def add_message(prefix: str, message: descriptor_pb2.DescriptorProto) -> None:
        name = f"{prefix}{message.name}"
        found[name] = bool(message.options.map_entry)
        for field in message.field:
            oneof = (
                message.oneof_decl[field.oneof_index].name
                if field.HasField("oneof_index")
                else None
            )
            found[f"{name}.{field.name}"] = (
                field.number,
                field.type,
                field.label,
                field.type_name,
                oneof,
                field.proto3_optional,
            )
        for enum in message.enum_type:
            add_enum(f"{name}.", enum)
        for nested in message.nested_type:
            add_message(f"{name}.", nested)

    package = f"{file.package}."
    for enum in file.enum_type:
        add_enum(package, enum)
    for message in file.message_type:
        add_message(package, message)
    for service in file.service:
        for method in service.method:
            found[f"{package}{service.name}/{method.name}"] = (
                method.input_type,
                method.output_type,
                method.client_streaming,
                method.server_streaming,
            )
    return found


def test_the_proto_is_on_the_wire_what_tritonclient_has(tmp_path: pathlib.Path) -> None:
    compiled = tmp_path / "descriptors"
    source = PROTO / "inference" / "grpc_service.proto"
    subprocess.run(["protoc", f"-I{PROTO}", f"--descriptor_set_out={compiled}", source], check=True)
    files = descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes()).file
    ours = definitions(files[0])
    theirs: Definitions = {}
    for module in (service_pb2, model_config_pb2):
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        theirs |= definitions(file)
    assert len(ours) > 150
    assert {name: theirs.get(name) for name in ours} == ours
    methods = {name.split("/")[1] for name in ours if name.startswith(f"{SERVICE}/")}
    assert methods == {
        "ServerLive",
        "ServerReady",
        "ModelReady",
        "ServerMetadata",
        "ModelMetadata",
        "ModelInfer",
        "ModelStreamInfer",
        "ModelConfig",
        "ModelStatistics",
        "RepositoryIndex",
        "RepositoryModelLoad",
        "RepositoryModelUnload",
    }


def test_the_server_and_its_models_are_described(server: Server) -> None:
    with client_of(server) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("vit")
        assert client.is_model_ready("dinov2", "1")
        assert not client.is_model_ready("dinov2", "2")
        assert not client.is_model_ready("other")
        metadata = client.get_server_metadata()
        assert metadata.name == "pixembed"
        assert "statistics" in metadata.extensions
        model = client.get_model_metadata("dinov2", as_json=True)
        assert model == {
            "name": "dinov2",
            "versions": ["1"],
            "platform": "pixembed",
            "inputs": [{"name": "images", "datatype": "BYTES", "shape": ["-1", "1"]}],
            "outputs": [
                {"name": "embeddings", "datatype": "FP32", "shape": ["-1", "24"]},
                {"name": "status", "datatype": "BYTES", "shape": ["-1", "1"]},
            ],
        }
        config = client.get_model_config("dinov2").config
        assert config.max_batch_size == 256
        assert not config.model_transaction_policy.decoupled
        assert [tensor.name for tensor in config.input] == ["images"]
        assert [tensor.name for tensor in config.output] == ["embeddings", "status"]
        index = client.get_model_repository_index()
        assert [(m.name, m.state) for m in index.models] == [("vit", "READY"), ("dinov2", "READY")]


@pytest.mark.parametrize("model", ["vit", "dinov2"])
def test_the_vectors_are_those_of_the_native_api_and_of_the_reference(
    model: str,
    request: pytest.FixtureRequest,
    server: Server,
    pictures: dict[str, bytes],
    tmp_path: pathlib.Path,
) -> None:
    images = list(pictures.values())
    expected, fingerprint = native(server, tmp_path / "native", images, f"--model={model}")
    reference_vectors = reference(request.getfixturevalue(model), images)
    with client_of(server) as client:
        for column in (True, False):
            tensor = images_input(images, column=column)
            result = client.infer(model, [tensor], request_id="a request")
            vectors = result.as_numpy("embeddings")
            assert vectors.dtype == np.float32
            np.testing.assert_allclose(vectors, expected, rtol=0, atol=TOLERANCE)
            np.testing.assert_allclose(vectors, reference_vectors, rtol=0, atol=TOLERANCE)
            response = result.get_response()
            assert response.id == "a request"
            assert (response.model_name, response.model_version) == (model, "1")
            assert response.parameters["fingerprint"].string_param == fingerprint
            assert result.as_numpy("status") is None


def test_parameters_are_the_options_of_the_native_api(
    server: Server, pictures: dict[str, bytes], tmp_path: pathlib.Path
) -> None:
    images = list(pictures.values())
    flags = [
        "--pooling=cls",
        "--layers=-1,0",
        "--normalize",
        "--dimensions=16",
        "--background=20c040",
        "--exif_orientation=apply",
    ]
    expected, fingerprint = native(server, tmp_path / "native", images, *flags)
    with client_of(server) as client:
        result = client.infer(
            "vit",
            [images_input(images)],
            outputs=outputs("embeddings"),
            priority=2,
            timeout=PATIENCE * 1_000_000,
            parameters={
                "pooling": "cls",
                "layers": "-1,0",
                "normalize": True,
                "dimensions": 16,
                "background": "20c040",
                "exif_orientation": "apply",
                "expected_fingerprint": fingerprint,
            },
        )
    assert result.get_response().parameters["fingerprint"].string_param == fingerprint
    np.testing.assert_allclose(result.as_numpy("embeddings"), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("name", "tolerance"), [("FP16", 2e-3), ("BF16", 1e-2)])
def test_half_precision_comes_in_kserves_types(
    name: str, tolerance: float, server: Server, pictures: dict[str, bytes]
) -> None:
    tensor = images_input(list(pictures.values()))
    with client_of(server) as client:
        exact = client.infer("vit", [tensor]).as_numpy("embeddings")
        result = client.infer("vit", [tensor], parameters={"data_type": name})
    assert result.get_output("embeddings").datatype == name
    vectors = result.as_numpy("embeddings").astype(np.float32)
    np.testing.assert_allclose(vectors, exact, rtol=tolerance, atol=tolerance)


def test_a_broken_image_fails_alone_where_status_is_asked_for(server: Server) -> None:
    good = encode(picture(50, 40, 1), "PNG")
    broken = broken_images()
    images = [good, *(data for data, _ in broken.values())]
    with client_of(server) as client:
        result = client.infer(
            "vit", [images_input(images)], outputs=outputs("embeddings", "status")
        )
        alone = client.infer("vit", [images_input([good])]).as_numpy("embeddings")
        with pytest.raises(InferenceServerException) as raised:
            client.infer("vit", [images_input(images)])
    statuses = [status.decode() for status in result.as_numpy("status")[:, 0]]
    assert statuses[0] == ""
    reasons = [text.split(":")[0] for text in statuses[1:]]
    assert reasons == [reason for _, reason in broken.values()]
    vectors = result.as_numpy("embeddings")
    np.testing.assert_allclose(vectors[0], alone[0], rtol=0, atol=TOLERANCE)
    assert np.isnan(vectors[1:]).all()
    assert raised.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert raised.value.message().startswith(f"image 1 of {len(images)}: ")


def test_what_cannot_be_served_says_why(server: Server) -> None:
    tensor = images_input([encode(picture(50, 40, 1), "PNG")])
    with client_of(server) as client:
        calls: list[tuple[dict[str, object], str, str]] = [
            ({"model_name": "other"}, "NOT_FOUND", "vit, dinov2"),
            ({"parameters": {"normalise": True}}, "INVALID_ARGUMENT", "normalise"),
            ({"parameters": {"expected_fingerprint": "0"}}, "FAILED_PRECONDITION", "fingerprint"),
            ({"outputs": outputs("other")}, "INVALID_ARGUMENT", "embeddings, status"),
        ]
        for arguments, status, text in calls:
            with pytest.raises(InferenceServerException, match=text) as raised:
                client.infer(**{"model_name": "vit", "inputs": [tensor], **arguments})
            assert raised.value.status() == f"StatusCode.{status}"
        for control in (client.load_model, client.unload_model):
            with pytest.raises(InferenceServerException, match="--model_control") as raised:
                control("vit")
            assert raised.value.status() == "StatusCode.UNIMPLEMENTED"


def test_callbacks_and_asyncio(
    server: Server, pictures: dict[str, bytes], tmp_path: pathlib.Path
) -> None:
    images = list(pictures.values())
    expected, _ = native(server, tmp_path / "native", images)
    results: queue.Queue[object] = queue.Queue()
    with client_of(server) as client:
        for _ in range(4):
            client.async_infer(
                "vit", [images_input(images)], lambda result, error: results.put(error or result)
            )
        for _ in range(4):
            result = results.get(timeout=PATIENCE)
            assert isinstance(result, tritonclient.grpc.InferResult), result
            np.testing.assert_allclose(
                result.as_numpy("embeddings"), expected, rtol=0, atol=TOLERANCE
            )

    async def embed() -> None:
        async with tritonclient.grpc.aio.InferenceServerClient(server.address) as client:
            assert await client.is_server_ready()
            answers = await asyncio.gather(
                *(client.infer("vit", [images_input([image])]) for image in images)
            )
        vectors = np.concatenate([answer.as_numpy("embeddings") for answer in answers])
        np.testing.assert_allclose(vectors, expected, rtol=0, atol=TOLERANCE)

    asyncio.run(embed())


def test_a_stream_answers_in_order_and_survives_a_request_that_fails(
    server: Server, pictures: dict[str, bytes], tmp_path: pathlib.Path
) -> None:
    images = list(pictures.values())
    expected, fingerprint = native(server, tmp_path / "native", images)
    results: queue.Queue[tuple[object, object]] = queue.Queue()
    with client_of(server) as client:
        client.start_stream(lambda result, error: results.put((result, error)))
        for i, image in enumerate(images):
            client.async_stream_infer(
                "vit", [images_input([image])], request_id=str(i), enable_empty_final_response=True
            )
        client.async_stream_infer("other", [images_input(images)], request_id="wrong")
        client.async_stream_infer("vit", [images_input(images)], request_id="last")
        for i in range(len(images)):
            result, error = results.get(timeout=PATIENCE)
            assert error is None
            assert isinstance(result, tritonclient.grpc.InferResult)
            response = result.get_response()
            assert response.id == str(i)
            assert response.parameters["triton_final_response"].bool_param
            assert response.parameters["fingerprint"].string_param == fingerprint
            vectors = result.as_numpy("embeddings")
            np.testing.assert_allclose(vectors[0], expected[i], rtol=0, atol=TOLERANCE)
        result, error = results.get(timeout=PATIENCE)
        assert result is None
        assert isinstance(error, InferenceServerException)
        assert error.message().startswith('UNKNOWN_MODEL: no model named "other"')
        result, error = results.get(timeout=PATIENCE)
        assert error is None
        assert isinstance(result, tritonclient.grpc.InferResult)
        assert result.get_response().id == "last"
        client.stop_stream()

    async def embed() -> None:
        async def requests() -> AsyncIterator[dict[str, object]]:
            for i, image in enumerate(images):
                yield {
                    "model_name": "vit",
                    "inputs": [images_input([image])],
                    "request_id": str(i),
                }

        async with tritonclient.grpc.aio.InferenceServerClient(server.address) as client:
            answers = [answer async for answer in client.stream_infer(requests())]
        assert [error for _, error in answers] == [None] * len(images)
        vectors = np.concatenate([result.as_numpy("embeddings") for result, _ in answers])
        np.testing.assert_allclose(vectors, expected, rtol=0, atol=TOLERANCE)

    asyncio.run(embed())


def test_statistics_count_what_was_asked(vit: pathlib.Path, start_server: StartServer) -> None:
    server = start_server(f"--model=vit={vit}")
    image = encode(picture(50, 40, 1), "PNG")
    with client_of(server) as client:
        for count in (1, 3):
            client.infer("vit", [images_input([image] * count)])
        with pytest.raises(InferenceServerException):
            client.infer("vit", [images_input([b"no picture"])])
        (statistics,) = client.get_inference_statistics("vit").model_stats
    assert (statistics.name, statistics.version) == ("vit", "1")
    assert statistics.inference_count == 4
    assert 2 <= statistics.execution_count <= 4
    assert statistics.inference_stats.success.count == 2
    assert statistics.inference_stats.fail.count == 1
    assert statistics.inference_stats.compute_infer.ns > 0


@pytest.fixture
def repository(tmp_path: pathlib.Path, vit: pathlib.Path, dinov2: pathlib.Path) -> pathlib.Path:
    """A model repository with both models."""
    root = tmp_path / "repository"
    shutil.copytree(vit, root / "vit")
    shutil.copytree(dinov2, root / "dinov2")
    return root


def index_of(client: tritonclient.grpc.InferenceServerClient) -> dict[str, tuple[str, str]]:
    return {m.name: (m.state, m.reason) for m in client.get_model_repository_index().models}


def vector_of(client: tritonclient.grpc.InferenceServerClient, model: str) -> NDArray[np.float32]:
    image = encode(picture(50, 40, 1), "PNG")
    vectors: NDArray[np.float32] = client.infer(model, [images_input([image])]).as_numpy(
        "embeddings"
    )
    return vectors


def change_weights(directory: pathlib.Path) -> None:
    """Writes other weights, as an operator should: beside the old ones, then in their place."""
    tensors = safetensors.numpy.load_file(directory / "model.safetensors")
    changed = {name: tensor * np.float32(1.5) for name, tensor in tensors.items()}
    safetensors.numpy.save_file(changed, directory / "new", metadata={"format": "pt"})
    (directory / "new").rename(directory / "model.safetensors")


def test_models_are_loaded_reloaded_and_unloaded(
    repository: pathlib.Path, start_server: StartServer
) -> None:
    server = start_server(
        f"--model_repository={repository}", "--load_model=vit", "--model_control=explicit"
    )
    image = encode(picture(50, 40, 1), "PNG")
    with client_of(server) as client:
        assert "model_repository" in client.get_server_metadata().extensions
        assert index_of(client) == {
            "vit": ("READY", ""),
            "dinov2": ("UNAVAILABLE", "not loaded"),
        }
        assert not client.is_model_ready("dinov2")
        client.load_model("dinov2")
        assert client.is_model_ready("dinov2")
        expected = reference(repository / "dinov2", [image])
        np.testing.assert_allclose(vector_of(client, "dinov2"), expected, rtol=0, atol=TOLERANCE)

        client.unload_model("vit")
        assert not client.is_model_ready("vit")
        assert client.is_server_ready()
        assert index_of(client)["vit"] == ("UNAVAILABLE", "unloaded")
        with pytest.raises(InferenceServerException, match="unloaded") as raised:
            vector_of(client, "vit")
        assert raised.value.status() == "StatusCode.NOT_FOUND"
        client.load_model("vit")
        before = vector_of(client, "vit")

        change_weights(repository / "vit")
        client.load_model("vit")
        expected = reference(repository / "vit", [image])
        assert np.abs(expected - before).max() > TOLERANCE
        np.testing.assert_allclose(vector_of(client, "vit"), expected, rtol=0, atol=TOLERANCE)

        weights = repository / "vit" / "model.safetensors"
        weights.rename(repository / "vit" / "old")
        weights.write_bytes(b"no weights")
        with pytest.raises(InferenceServerException, match="safetensors"):
            client.load_model("vit")
        np.testing.assert_allclose(vector_of(client, "vit"), expected, rtol=0, atol=TOLERANCE)
        state, reason = index_of(client)["vit"]
        assert state == "READY"
        assert "reloading failed" in reason

        shutil.copytree(repository / "dinov2", repository / "third")
        assert index_of(client)["third"] == ("UNAVAILABLE", "not loaded")
        client.load_model("third")
        np.testing.assert_array_equal(vector_of(client, "third"), vector_of(client, "dinov2"))


def test_nothing_but_a_configured_name_is_loaded(
    repository: pathlib.Path, vit: pathlib.Path, start_server: StartServer
) -> None:
    (repository / "out").symlink_to(vit)
    server = start_server(f"--model_repository={repository}", "--model_control=explicit")
    with client_of(server) as client:
        for name in ("../repository/vit", str(vit), "vit/", "..", ".", "out", "vit\0"):
            with pytest.raises(InferenceServerException, match="none is named") as raised:
                client.load_model(name)
            assert raised.value.status() == "StatusCode.NOT_FOUND"
        overrides: list[dict[str, object]] = [
            {"config": "{}"},
            {"config": "{}", "files": {"file:1/model.safetensors": b"weights"}},
        ]
        for arguments in overrides:
            with pytest.raises(InferenceServerException, match="is not taken") as raised:
                client.load_model("vit", **arguments)
            assert raised.value.status() == "StatusCode.INVALID_ARGUMENT"
        assert {state for state, _ in index_of(client).values()} == {"UNAVAILABLE"}


def test_a_reload_under_load_fails_no_request(
    repository: pathlib.Path, start_server: StartServer
) -> None:
    server = start_server(
        f"--model_repository={repository}", "--load_model=vit", "--model_control=explicit"
    )
    enough = threading.Event()

    def ask() -> int:
        answers = 0
        with client_of(server) as own:
            while not enough.is_set():
                vector_of(own, "vit")
                answers += 1
        return answers

    with client_of(server) as client, concurrent.futures.ThreadPoolExecutor() as pool:
        callers = [pool.submit(ask) for _ in range(3)]
        try:
            for _ in range(5):
                client.load_model("dinov2")
                change_weights(repository / "vit")
                client.load_model("vit")
                client.unload_model("dinov2")
        finally:
            enough.set()
        assert min(caller.result(PATIENCE) for caller in callers) > 0


def anonymous_bytes(server: Server) -> int:
    """Memory that the server holds, mapped files aside."""
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    (kilobytes,) = re.findall(r"^RssAnon:\s+(\d+) kB$", status, re.MULTILINE)
    return int(kilobytes) * 1024


def test_an_unloaded_model_gives_its_memory_back(
    tmp_path: pathlib.Path, start_server: StartServer
) -> None:
    directory = tmp_path / "repository" / "large"
    config = transformers.ViTConfig(
        hidden_size=768, num_hidden_layers=4, num_attention_heads=12, intermediate_size=3072
    )
    transformers.ViTModel(config).save_pretrained(directory)
    transformers.ViTImageProcessor().save_pretrained(directory)
    weights = (directory / "model.safetensors").stat().st_size
    assert weights > 100_000_000
    server = start_server(f"--model_repository={directory.parent}", "--model_control=explicit")
    with client_of(server) as client:
        without = []
        for _ in range(8):
            client.load_model("large")
            vector_of(client, "large")
            loaded = anonymous_bytes(server)
            client.unload_model("large")
            without.append(anonymous_bytes(server))
            assert loaded - without[-1] > 0.9 * weights
        # What threads keep of freed memory differs from time to time; it does not add up.
        assert without[-1] - without[0] < 0.6 * weights


PERF_ANALYZER_RUNS = {
    "unary": ["--concurrency-range=2"],
    "batches": ["--concurrency-range=2", "-b4", "--request-parameter=normalize:true:bool"],
    "streaming": ["--concurrency-range=2", "--streaming", "--async"],
    "request_rate": ["--request-rate-range=20"],
}


def served(client: tritonclient.grpc.InferenceServerClient, model: str) -> tuple[int, int]:
    """Requests that succeeded and images, so far."""
    (statistics,) = client.get_inference_statistics(model).model_stats
    return statistics.inference_stats.success.count, statistics.inference_count


@pytest.mark.parametrize("name", PERF_ANALYZER_RUNS)
def test_perf_analyzer_measures_it(name: str, server: Server, tmp_path: pathlib.Path) -> None:
    image = encode(picture(150, 100, 1), "JPEG")
    element = struct.pack("<I", len(image)) + image
    data = tmp_path / "data.json"
    data.write_text(json.dumps({"data": [{"images": {"b64": base64.b64encode(element).decode()}}]}))
    requests = 20
    with client_of(server) as client:
        before = served(client, "dinov2")
    run = subprocess.run(
        [
            os.environ["PIXEMBED_PERF_ANALYZER"],
            "-mdinov2",
            f"-u{server.address}",
            "-igrpc",
            "--service-kind=triton",
            f"--input-data={data}",
            f"--request-count={requests}",
            *PERF_ANALYZER_RUNS[name],
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    output = run.stdout + run.stderr
    assert run.returncode == 0, output
    counts = dict(re.findall(r"^ +(\w[\w ]* count): (\d+)$", output, re.MULTILINE))
    images = 4 if name == "batches" else 1
    assert int(counts["Request count"]) == requests, output
    with client_of(server) as client:
        after = served(client, "dinov2")
    assert (after[0] - before[0], after[1] - before[1]) == (requests, requests * images)
    # It asks the server for its counts when its first requests are on their way already.
    seen = int(counts["Successful request count"])
    assert requests - 2 <= seen <= requests, output
    assert int(counts["Inference count"]) == seen * images, output
    assert 0 < int(counts["Execution count"]) <= requests * images, output
    assert re.search(r"queue \d+ usec \+ compute input \d+ usec \+ compute infer [1-9]", output)
