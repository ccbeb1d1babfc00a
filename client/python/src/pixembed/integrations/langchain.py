"""For LangChain's vector stores: images by their paths or URIs, where LangChain has texts."""

from __future__ import annotations

import base64
import os
import re
import urllib.parse
import urllib.request

from langchain_core.embeddings import Embeddings
from typing_extensions import Unpack

from pixembed._images import ImageLike
from pixembed._options import EmbedOptions
from pixembed.client import Client
from pixembed.integrations import check_arguments

_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]*$")


class PixembedEmbeddings(Embeddings):
    """An image is named by a path, a file: URI, or a data: URI. Nothing is fetched from the net.

    There are no vectors of texts: what names no file, and has no ending as names of files do, is
    taken for one, and is a NotImplementedError.
    """

    def __init__(self, client: Client, **options: Unpack[EmbedOptions]) -> None:
        check_arguments(client, options)
        self._client = client
        self._options = options

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector for each image."""
        if isinstance(texts, str):
            raise TypeError("texts is several images, not one str; put it into a list")
        vectors = self._client.embed([_image(text) for text in texts], **self._options)
        return [[float(value) for value in vector] for vector in vectors]

    def embed_query(self, text: str) -> list[float]:
        """The vector of one image."""
        return self.embed_documents([text])[0]

    def embed_image(self, uris: list[str]) -> list[list[float]]:
        """What stores of images call it."""
        return self.embed_documents(uris)


def _image(text: str) -> ImageLike:
    scheme, colon, rest = text.partition(":")
    scheme = scheme.lower()
    if colon and scheme == "data":
        return _data(rest)
    if colon and scheme == "file":
        parsed = urllib.parse.urlparse(text)
        if parsed.netloc not in ("", "localhost"):
            raise ValueError(
                f'"{text}" is on the host {parsed.netloc}; a file: URI is file:///PATH'
            )
        return urllib.request.url2pathname(parsed.path)
    if colon and rest.startswith("//"):
        raise ValueError(f"{scheme}: images are not fetched; give a path, a file: or a data: URI")
    if not _ENDING.search(text) and not os.path.exists(text):
        raise NotImplementedError(
            f"pixembed embeds images, not texts: give texts another model; {text!r} is no file"
        )
    return text


def _data(rest: str) -> bytes:
    head, comma, data = rest.partition(",")
    if not comma:
        raise ValueError("a data: URI has no comma; it is data:image/jpeg;base64,...")
    if not head.endswith(";base64"):
        return urllib.parse.unquote_to_bytes(data)
    try:
        return base64.b64decode(data, validate=True)
    except ValueError as error:
        raise ValueError(f"what a data: URI holds is not base64: {error}") from error
