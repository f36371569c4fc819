"""From messages to what a decoder decodes: missing values, lengths, and the id of a schema in front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Int64
    from penrose_host.decoding.options import DecoderOptions

__all__ = ["Payloads", "unframe"]

_HEADER = 5


@dataclass(frozen=True, slots=True)
class Payloads:
    """What is left of the messages: `data[k]` is of the message `index[k]`, ascending, with the schema `ids[k]`."""

    data: Sequence[bytes]
    index: Int64
    faults: dict[int, str] = field(default_factory=dict)
    ids: Sequence[int] = ()


def unframe(messages: Sequence[bytes | None], options: DecoderOptions) -> Payloads:
    """The messages without their framing, and index → fault of those that cannot be decoded."""
    limit = options.max_message_bytes
    if not options.has_ids and None not in messages and max(map(len, messages), default=0) <= limit:  # type: ignore[arg-type]
        return Payloads(messages, np.arange(len(messages), dtype=np.int64))  # type: ignore[arg-type]
    data: list[bytes] = []
    index: list[int] = []
    ids: list[int] = []
    faults: dict[int, str] = {}
    for number, message in enumerate(messages):
        if message is None:
            if options.tombstones == "bad":
                faults[number] = "the message has no value (a tombstone); `tombstones: ignore` passes over such"
        elif len(message) > limit:
            faults[number] = f"the message has {len(message)} bytes, more than `max_message_bytes` ({limit}) allows"
        elif not options.has_ids:
            data.append(message)
            index.append(number)
        elif len(message) < _HEADER or message[0] != 0:
            faults[number] = "the message does not start with a zero byte and the id of a schema"
        else:
            ids.append(int.from_bytes(message[1:_HEADER], "big"))
            data.append(message[_HEADER:])
            index.append(number)
    return Payloads(data, np.array(index, dtype=np.int64), faults, ids)
