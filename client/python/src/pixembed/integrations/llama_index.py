"""For LlamaIndex's indices of images: what embeds an image by its path, or its bytes."""

from __future__ import annotations

import asyncio
import io
from typing import NoReturn, TypeAlias

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.embeddings import MultiModalEmbedding
from typing_extensions import Unpack

from pixembed._options import EmbedOptions
from pixembed.client import Client
from pixembed.integrations import check_arguments

Image: TypeAlias = "str | io.BytesIO"
"""As LlamaIndex has it: a path, or an encoded image."""


class PixembedEmbedding(MultiModalEmbedding):
    """The `image_embed_model` of a MultiModalVectorStoreIndex. There are no vectors of texts: what
    asks for them gets NotImplementedError."""

    _client: Client = PrivateAttr()
    _options: EmbedOptions = PrivateAttr()

    def __init__(
        self, client: Client, *, embed_batch_size: int = 64, **options: Unpack[EmbedOptions]
    ) -> None:
        check_arguments(client, options)
        super().__init__(
            model_name=options.get("model") or "pixembed", embed_batch_size=embed_batch_size
        )
        self._client = client
        self._options = options

    @classmethod
    def class_name(cls) -> str:
        return "PixembedEmbedding"

    def _get_image_embedding(self, img_file_path: Image) -> list[float]:
        return self._get_image_embeddings([img_file_path])[0]

    def _get_image_embeddings(self, img_file_paths: list[Image]) -> list[list[float]]:
        images = [
            image.getvalue() if isinstance(image, io.BytesIO) else image for image in img_file_paths
        ]
        vectors = self._client.embed(images, **self._options)
        return [[float(value) for value in vector] for vector in vectors]

    async def _aget_image_embedding(self, img_file_path: Image) -> list[float]:
        return (await self._aget_image_embeddings([img_file_path]))[0]

    async def _aget_image_embeddings(self, img_file_paths: list[Image]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_image_embeddings, img_file_paths)

    def _get_text_embedding(self, text: str) -> NoReturn:
        raise NotImplementedError("pixembed embeds images, not texts: give texts another model")

    def _get_query_embedding(self, query: str) -> NoReturn:
        self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> NoReturn:
        self._get_text_embedding(query)
