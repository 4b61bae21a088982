from typing import Annotated

from msgspec import Meta, Struct


class AssetPath(Struct):
    """Which part of the pages."""

    version: Annotated[str, Meta(pattern="^[0-9a-f]{16}$", description="As the pages name it.")]
    name: Annotated[str, Meta(pattern="^[a-z0-9_]{1,40}\\.[a-z]{2,4}$", description="Name of the file.")]
