"""Images in, transformer embeddings out: of pixembed's servers, or in this process."""

from pixembed._connection import Tls
from pixembed._images import ImageLike
from pixembed._options import EmbedOptions, ExplainOptions, StreamOptions
from pixembed._results import Embeddings, Result
from pixembed.aio import AsyncClient
from pixembed.client import Client
from pixembed.engine import Engine, EngineOptions
from pixembed.errors import EmbedError, ImageError, PixembedError, ServiceError

__all__ = [
    "AsyncClient",
    "Client",
    "EmbedError",
    "EmbedOptions",
    "Embeddings",
    "Engine",
    "EngineOptions",
    "ExplainOptions",
    "ImageError",
    "ImageLike",
    "PixembedError",
    "Result",
    "ServiceError",
    "StreamOptions",
    "Tls",
]
