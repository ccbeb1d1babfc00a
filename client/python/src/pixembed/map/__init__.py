"""Shows embeddings as one HTML page: `pixembed-map`.

A Parquet file as pixembed-bulk writes it becomes a map in two dimensions, with its near-duplicates,
its outliers, and how it differs from another file. The page holds all that it shows: nothing is
fetched.
"""

try:
    from pixembed.map.embeddings import Embeddings, MapError, read
    from pixembed.map.page import page
    from pixembed.map.survey import Options, Survey, survey
    from pixembed.map.thumbnails import thumbnails
except ImportError as error:
    raise ImportError(f"pixembed.map needs pip install 'pixembed[map]': {error}") from error

__all__ = ["Embeddings", "MapError", "Options", "Survey", "page", "read", "survey", "thumbnails"]
