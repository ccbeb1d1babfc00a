"""The adapters with the real packages of others, against the real server."""

from __future__ import annotations

import asyncio
import base64
import io
import pathlib
from typing import Any

import datasets
import numpy as np
import pytest
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core import MockEmbedding
from llama_index.core.indices import MultiModalVectorStoreIndex
from llama_index.core.schema import ImageNode
from pixembed_fixtures import Server

from pixembed import AsyncClient, Client
from pixembed.integrations.datasets import embed_column
from pixembed.integrations.langchain import PixembedEmbeddings
from pixembed.integrations.llama_index import PixembedEmbedding


def dataset_of(images: list[Any], **arguments: Any) -> Any:
    return datasets.Dataset.from_dict({"image": images}).cast_column(
        "image", datasets.Image(**arguments)
    )


def test_a_dataset_gets_a_column_of_vectors(client: Client, files: list[str]) -> None:
    images: list[Any] = [{"bytes": None, "path": file} for file in files]
    images.append({"bytes": pathlib.Path(files[0]).read_bytes(), "path": None})
    mapped = dataset_of(images, decode=False).map(
        embed_column(client, normalize=True), batched=True, batch_size=4
    )
    assert mapped.features["embedding"].feature.dtype == "float32"
    expected = client.embed([*files, files[0]], normalize=True)
    np.testing.assert_allclose(mapped.with_format("numpy")["embedding"][:], expected, atol=1e-6)


def test_a_dataset_of_decoded_images(client: Client, files: list[str]) -> None:
    files = [file for file in files if file.endswith((".png", ".bmp"))]
    mapped = dataset_of(files).map(embed_column(client, output="vector"), batched=True)
    expected = client.embed(files)
    np.testing.assert_allclose(mapped.with_format("numpy")["vector"][:], expected, atol=1e-5)


def test_a_broken_image_of_a_dataset_has_no_vector(client: Client, files: list[str]) -> None:
    images = dataset_of(
        [{"bytes": None, "path": files[0]}, {"bytes": b"broken", "path": None}], decode=False
    )
    mapped = images.map(embed_column(client, errors="return"), batched=True)
    assert [vector is None for vector in mapped["embedding"]] == [False, True]
    assert mapped["embedding_error"][0] is None
    assert mapped["embedding_error"][1].startswith("UNSUPPORTED_FORMAT")


def test_a_dataset_that_lacks_something_says_what(client: Client, files: list[str]) -> None:
    images = dataset_of(
        [
            {"bytes": None, "path": files[0]},
            {"bytes": None, "path": "/none/a.png"},
            None,
        ],
        decode=False,
    )
    mapped = images.map(embed_column(client, errors="return"), batched=True)
    reasons = [error and error.partition(":")[0] for error in mapped["embedding_error"]]
    assert reasons == [None, "UNREADABLE_FILE", "EMPTY_IMAGE"]
    with pytest.raises(ValueError, match='there is no column "img"; there are image'):
        images.map(embed_column(client, "img"), batched=True)
    paths = datasets.Dataset.from_dict({"image": files})
    with pytest.raises(TypeError, match=r"dataset\.map needs batched=True"):
        paths.map(embed_column(client))


@pytest.mark.parametrize("adapt", [embed_column, PixembedEmbeddings, PixembedEmbedding])
def test_a_wrong_client_or_option_is_told_at_once(adapt: Any, client: Client) -> None:
    for wrong in ("localhost:50051", AsyncClient("localhost:50051")):
        with pytest.raises(TypeError, match="client is a Client or an Engine, not "):
            adapt(wrong)
    with pytest.raises(TypeError, match='embed has no option "poolin"'):
        adapt(client, poolin="cls")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data:image/jpeg;base64,@@@", "is not base64"),
        ("data:abc", "has no comma"),
        ("FILE://elsewhere/a.png", "is on the host elsewhere"),
        ("HTTPS://example.com/a.png", "not fetched"),
    ],
)
def test_a_uri_that_names_no_image_is_told(client: Client, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PixembedEmbeddings(client).embed_query(text)
    with pytest.raises(TypeError, match="put it into a list"):
        PixembedEmbeddings(client).embed_documents(text)  # type: ignore[arg-type]


def test_the_function_is_the_same_in_another_run(server: Server) -> None:
    """So that datasets finds what it has mapped before."""
    hashes = {
        datasets.fingerprint.Hasher.hash(embed_column(Client(server.address))) for _ in range(2)
    }
    assert len(hashes) == 1


def test_langchain_finds_an_image_by_an_image(client: Client, files: list[str]) -> None:
    embeddings = PixembedEmbeddings(client, normalize=True)
    store = InMemoryVectorStore(embeddings)
    store.add_texts(files)
    file = next(pathlib.Path(file) for file in files if file.endswith("gray.jpg"))
    data = base64.b64encode(file.read_bytes()).decode()
    for name in (str(file), file.as_uri(), f"data:image/jpeg;base64,{data}"):
        assert store.similarity_search(name, k=1)[0].page_content == str(file)
    np.testing.assert_allclose(
        embeddings.embed_image(files), client.embed(files, normalize=True), atol=1e-6
    )
    with pytest.raises(ValueError, match="not fetched"):
        embeddings.embed_query("https://example.com/a.png")


def test_langchain_gets_no_vectors_of_texts(client: Client) -> None:
    embeddings = PixembedEmbeddings(client)
    for text in ("a red rocket", "What is this?", ""):
        with pytest.raises(NotImplementedError, match="images, not texts"):
            embeddings.embed_query(text)
        with pytest.raises(NotImplementedError, match="images, not texts"):
            embeddings.embed_documents([text])
    with pytest.raises(FileNotFoundError, match=r"photos/rocket\.jpg"):
        embeddings.embed_query("photos/rocket.jpg")


def test_llama_index_finds_an_image_by_an_image(client: Client, files: list[str]) -> None:
    embedding = PixembedEmbedding(client, normalize=True)
    # LlamaIndex leaves out what has neither text nor metadata; its readers give a path.
    nodes = [ImageNode(image_path=file, metadata={"file_path": file}) for file in files]
    index = MultiModalVectorStoreIndex(
        nodes, embed_model=MockEmbedding(embed_dim=4), image_embed_model=embedding
    )
    retriever = index.as_retriever(image_similarity_top_k=1)
    file = next(file for file in files if file.endswith("gray.jpg"))
    (found,) = retriever.image_to_image_retrieve(file)
    assert found.node.metadata["file_path"] == file


def test_llama_index_gets_the_vectors_of_images_and_none_of_texts(
    client: Client, files: list[str]
) -> None:
    embedding = PixembedEmbedding(client, embed_batch_size=2, normalize=True)
    expected = client.embed(files, normalize=True)
    for vectors in (
        embedding.get_image_embedding_batch(files),
        asyncio.run(embedding.aget_image_embedding_batch(files)),
        [embedding.get_image_embedding(file) for file in files],
        [asyncio.run(embedding.aget_image_embedding(file)) for file in files],
        [
            embedding.get_image_embedding(io.BytesIO(pathlib.Path(file).read_bytes()))
            for file in files
        ],
    ):
        np.testing.assert_allclose(np.array(vectors), expected, rtol=0, atol=1e-6)
    for call in (embedding.get_text_embedding, embedding.get_query_embedding):
        with pytest.raises(NotImplementedError, match="images, not texts"):
            call("a cat")
    with pytest.raises(NotImplementedError, match="images, not texts"):
        asyncio.run(embedding.aget_query_embedding("a cat"))
