"""Which columns there are, and how more of them are taken up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pyarrow as pa

from penrose_host.errors import WrongStream
from penrose_host.formats.schema_text import decoded, encoded
from penrose_host.formats.type_names import parse_type

if TYPE_CHECKING:
    from penrose_host.decoding.options import DecoderOptions

__all__ = ["MAX_COLUMNS", "Columns"]

#: A stream whose messages have ever new keys must not grow without end.
MAX_COLUMNS = 2000


class Columns:
    """The columns of a stream of messages. The type of a column never changes."""

    def __init__(self, options: DecoderOptions, state: str = "") -> None:
        """`state`: see `Decoder.state`. Raises WrongStream where it does not go with the options."""
        self._wanted = options.columns
        self._types = {name: parse_type(kind) for name, kind in options.column_types.items()}
        self.schema: pa.Schema | None = None
        if state:
            self.schema = self._resumed(state)
        elif self._wanted is not None and len(self._types) == len(self._wanted):
            self.schema = self.typed

    @property
    def typed(self) -> pa.Schema:
        """The columns whose type the options give."""
        names = [name for name in self._wanted if name in self._types] if self._wanted is not None else self._types
        return pa.schema([(name, self._types[name]) for name in names])

    @property
    def current(self) -> pa.Schema:
        """The columns that are known by now."""
        return self.typed if self.schema is None else self.schema

    @property
    def open(self) -> bool:
        """Whether columns may still be added."""
        schema = self.current
        if self._wanted is not None and set(self._wanted) <= set(schema.names):
            return False
        return len(schema) < MAX_COLUMNS

    def new_among(self, names: Iterable[str]) -> set[str]:
        """Those of the names that are no column yet, and may become one."""
        new = set(names).difference(self.current.names)
        return new if self._wanted is None else new.intersection(self._wanted)

    def add(self, fields: Iterable[pa.Field]) -> bool:
        """Take up those of the columns that are new and asked for. Returns whether there were any."""
        known = self.current
        found = {field.name: field.type for field in fields}
        names = self.new_among(found)
        new = [pa.field(name, kind) for name, kind in found.items() if name in names]
        new = new[: max(MAX_COLUMNS - len(known), 0)]
        if len(known) + len(new) and (new or self.schema is None):
            every = [*known, *new]
            if self.schema is None and self._wanted is not None:
                every.sort(key=lambda field: self._wanted.index(field.name))  # type: ignore[union-attr]
            self.schema = pa.schema(every)
        return bool(new)

    def state(self) -> str:
        """The columns as text; empty while there are none."""
        return "" if self.schema is None else encoded(self.schema)

    def _resumed(self, state: str) -> pa.Schema:
        try:
            schema = decoded(state)
        except (ValueError, pa.ArrowException, OSError) as error:
            raise WrongStream(f"the columns in the position cannot be read: {error}") from error
        for field in schema:
            if self._types.get(field.name, field.type) != field.type:
                raise WrongStream(
                    f"the column {field.name!r} is {field.type} since the run began, but `column_types` says "
                    f"{self._types[field.name]}",
                    hint="put `column_types` back, or start a new run in another run directory",
                )
            if self._wanted is not None and field.name not in self._wanted:
                raise WrongStream(
                    f"the column {field.name!r} is read since the run began, but `columns` does not name it",
                    hint="put `columns` back, or start a new run in another run directory",
                )
        # Types that are given since are for columns that the stream has not had.
        return pa.schema([*schema, *(field for field in self.typed if field.name not in schema.names)])
