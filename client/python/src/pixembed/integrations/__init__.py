"""Thin adapters to what others made. Each module needs the package that it is called after."""

from __future__ import annotations

from pixembed._options import EmbedOptions, check_names
from pixembed.client import Client
from pixembed.engine import Engine


def check_arguments(client: object, options: EmbedOptions) -> None:
    """Raises TypeError for what would only fail with the first images."""
    if not isinstance(client, Client | Engine):
        raise TypeError(f"client is a Client or an Engine, not {type(client).__name__}")
    check_names("embed", options, EmbedOptions)
