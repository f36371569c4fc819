"""Options that say which columns there are, and of which types; shared by files and decoders."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from penrose_host.formats.type_names import check_type_name

__all__ = ["ColumnTypes", "Columns"]


def _distinct(value: list[str] | None) -> list[str] | None:
    if value is not None and (not value or len(set(value)) != len(value)):
        raise ValueError("name at least one column, each once")
    return value


def _known_types(value: dict[str, str]) -> dict[str, str]:
    for name in value.values():
        check_type_name(name)
    return value


Columns = Annotated[list[str] | None, AfterValidator(_distinct)]
ColumnTypes = Annotated[dict[str, str], AfterValidator(_known_types)]
