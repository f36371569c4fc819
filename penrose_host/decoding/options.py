"""Options of decoders. Nothing here imports a framework."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from penrose_host.formats.column_options import Columns, ColumnTypes
from penrose_host.formats.csv_dialect import CsvDialect

__all__ = ["DecoderOptions"]


class DecoderOptions(BaseModel):
    """What the bytes of a message are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["json", "csv", "avro", "arrow", "raw"] = Field(
        default="json",
        description="json: an object; csv: a row without header; avro: a record; arrow: an IPC stream; "
        "raw: the bytes as they are, in the column `value`",
    )
    columns: Columns = Field(
        default=None, description="only these columns; by default all. csv: the names of all fields, in order"
    )
    column_types: ColumnTypes = Field(
        default={},
        description="column → type (`int64`, `float64`, `string`, `bool`, `timestamp[us, UTC]`, `list<int64>`, …); "
        "other columns get theirs from the first messages, or from their schema",
    )
    framing: Literal["none", "confluent"] | None = Field(
        default=None,
        description="confluent: five bytes with the id of a schema come first (the default of avro); none: not so",
    )
    avro_schema: str | dict[int, str] | None = Field(
        default=None,
        description="avro: file with the writer's schema (.avsc); with ids: id → file, instead of a registry",
    )
    csv: CsvDialect = CsvDialect()
    max_message_bytes: int = Field(
        default=16 << 20, ge=1, le=256 << 20, description="a message that is longer, also once unpacked, is bad"
    )
    tombstones: Literal["bad", "ignore"] = Field(
        default="bad", description="what a message without a value is: a bad row, or passed over"
    )

    @model_validator(mode="after")
    def _fit(self) -> DecoderOptions:
        if self.format == "csv" and self.columns is None:
            raise ValueError("messages have no header: name the fields of a row in `columns`")
        if self.format == "csv" and (nested := [n for n, kind in self.column_types.items() if kind.startswith("list")]):
            raise ValueError(f"`column_types`: a field of CSV cannot hold a list ({', '.join(nested)})")
        if self.format == "raw" and (self.columns or self.column_types):
            raise ValueError("`raw` has the one column `value`: leave out `columns` and `column_types`")
        if self.columns is not None and (others := set(self.column_types).difference(self.columns)):
            raise ValueError(f"`column_types` names what is not in `columns`: {', '.join(sorted(others))}")
        if self.avro_schema is not None:
            if self.format != "avro":
                raise ValueError("`avro_schema` is for `format: avro`")
            if isinstance(self.avro_schema, str) == self.has_ids:
                raise ValueError(
                    "`avro_schema`: with ids in front of the messages give id → file; with `framing: none` one file"
                )
        elif self.format == "avro" and not self.has_ids:
            raise ValueError("with `framing: none` the schema has to come from a file: set `avro_schema`")
        return self

    @property
    def has_ids(self) -> bool:
        """Whether the id of a schema stands in front of each message."""
        return (self.framing or ("confluent" if self.format == "avro" else "none")) == "confluent"
