"""How rows of CSV are written."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from penrose_host.options.section import Section

__all__ = ["NULL_VALUES", "CsvDialect"]


#: What a column that is not text reads as null.
NULL_VALUES = ("", "NA", "N/A", "#N/A", "NULL", "null", "None", "NaN", "nan", "-NaN", "-nan")


class CsvDialect(Section):
    """How rows of CSV are written."""

    delimiter: str | None = Field(
        default=None, description="one character between fields; by default a comma, in .tsv files a tab"
    )
    quote: str | None = Field(default='"', description="the character around quoted fields, or null for none")
    null_values: list[str] = Field(default=list(NULL_VALUES), description="what columns other than text take for null")
    text_can_be_null: bool = Field(default=False, description="whether `null_values` are null in text columns too")

    @field_validator("delimiter", "quote")
    @classmethod
    def _one_character(cls, value: str | None) -> str | None:
        if value is not None and (len(value) != 1 or not value.isascii() or value in "\r\n\0"):
            raise ValueError(f"{value!r} is not one ASCII character")
        return value

    @field_validator("quote")
    @classmethod
    def _differ(cls, value: str | None, info: Any) -> str | None:
        if value is not None and value == (info.data.get("delimiter") or ","):
            raise ValueError(f"{value!r} is the delimiter too")
        return value
