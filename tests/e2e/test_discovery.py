"""What a stranger's tools find: reflection, as grpcurl uses it, and health, as Kubernetes does."""

import pathlib

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from pixembed_fixtures import PATIENCE, Server, StartServer

from pixembed import Client

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def test_reflection_lists_and_describes_the_services(server: Server) -> None:
    with grpc.insecure_channel(server.address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        services = set(database.get_services())
        assert {
            "pixembed.v1.EmbeddingService",
            "inference.GRPCInferenceService",
            "grpc.health.v1.Health",
        } <= services
        pool = DescriptorPool(database)
        embedding = pool.FindServiceByName("pixembed.v1.EmbeddingService")
        assert [method.name for method in embedding.methods] == [
            "Embed",
            "EmbedBatch",
            "EmbedStream",
            "ListModels",
            "GetModel",
            "ExplainImage",
        ]
        health = pool.FindServiceByName("grpc.health.v1.Health")
        assert {method.name for method in health.methods} >= {"Check", "Watch"}
        request = pool.FindMessageTypeByName("pixembed.v1.EmbedRequest")
        assert request.fields_by_name["images"].message_type.full_name == "pixembed.v1.Image"


@pytest.mark.parametrize(
    "service",
    ["", "pixembed.v1.EmbeddingService", "inference.GRPCInferenceService", "vit", "dinov2"],
)
def test_health_of_the_server_its_service_and_each_model(service: str, server: Server) -> None:
    with grpc.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=service)
        assert stub.Check(request, timeout=PATIENCE).status == SERVING
        watch = stub.Watch(request, timeout=PATIENCE)
        assert next(watch).status == SERVING
        watch.cancel()


def test_health_of_an_unknown_service_is_not_found(server: Server) -> None:
    with grpc.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.RpcError) as raised:
            stub.Check(health_pb2.HealthCheckRequest(service="other"), timeout=PATIENCE)
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND


def test_a_watcher_is_told_of_the_drain(vit: pathlib.Path, start_server: StartServer) -> None:
    server = start_server(f"--model={vit}", "--drain_grace=1s")
    with grpc.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        assert next(watch).status == SERVING
        server.terminate()
        assert next(watch).status == NOT_SERVING
        watch.cancel()
    assert server.wait() == 0


def test_the_models_are_described(server: Server) -> None:
    with Client(server.address) as client:
        models = {model.name: model for model in client.models()}
    assert list(models) == ["vit", "dinov2"]
    assert models["vit"].model_type == "vit"
    assert (models["vit"].dimension, models["vit"].tokens) == (32, 10)
    assert (models["dinov2"].dimension, models["dinov2"].tokens) == (24, 10)
    assert models["dinov2"].preprocessing.resize == "shortest_edge 56"
    assert models["dinov2"].preprocessing.crop == "42x42"
    assert set(models["vit"].fingerprints) == {"mean", "cls", "max"}
    fingerprints = {f for model in models.values() for f in model.fingerprints.values()}
    assert len(fingerprints) == 6
