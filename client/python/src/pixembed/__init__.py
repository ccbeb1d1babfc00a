"""Client of pixembed: images in, transformer embeddings out."""

from pixembed._connection import Tls
from pixembed._images import ImageLike
from pixembed._options import EmbedOptions, ExplainOptions, StreamOptions
from pixembed._results import Embeddings, Result
from pixembed.aio import AsyncClient
from pixembed.client import Client
from pixembed.errors import EmbedError, ImageError, PixembedError, ServiceError

__all__ = [
    "AsyncClient",
    "Client",
    "EmbedError",
    "EmbedOptions",
    "Embeddings",
    "ExplainOptions",
    "ImageError",
    "ImageLike",
    "PixembedError",
    "Result",
    "ServiceError",
    "StreamOptions",
    "Tls",
]
