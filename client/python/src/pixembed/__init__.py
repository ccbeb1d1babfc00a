"""Client of pixembed: images in, transformer embeddings out."""

from pixembed.client import Client, Embeddings, ImageLike, Result
from pixembed.errors import EmbedError, ImageError, PixembedError, ServiceError

__all__ = [
    "Client",
    "EmbedError",
    "Embeddings",
    "ImageError",
    "ImageLike",
    "PixembedError",
    "Result",
    "ServiceError",
]
