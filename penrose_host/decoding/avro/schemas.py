"""Where the writers' schemas come from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from penrose_host.errors import SourceError

if TYPE_CHECKING:
    from penrose_host.decoding.options import DecoderOptions

__all__ = ["NO_ID", "schema_source"]

#: Stands for the id where messages have none.
NO_ID = -1


def schema_source(
    options: DecoderOptions, schemas: Callable[[int], str] | None, plugin: str | None
) -> Callable[[int], str]:
    """Id → schema as JSON text: from the files that the options name, or else from `schemas`.

    Raises SourceError, which names `plugin`.
    """
    given = options.avro_schema
    if given is None:
        if schemas is None:
            raise SourceError(
                "there is nothing to look up the schemas of Avro messages in",
                plugin=plugin,
                hint="name a schema registry, or give `avro_schema`: id → file",
            )
        return schemas
    files = {NO_ID: given} if isinstance(given, str) else given
    return {number: _read(file, plugin) for number, file in files.items()}.__getitem__


def _read(file: str, plugin: str | None) -> str:
    try:
        return Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(
            f"the Avro schema {file} cannot be read: {error}", plugin=plugin, hint="check `avro_schema`"
        ) from error
