"""Which messages can be one JSON object, before any of them is parsed.

A message that starts with `{` and ends with `}` cannot run into the next one when they are joined by line ends: between
`}` and `{` JSON needs a comma, and a line end inside a string is an error. So where a parser finds as many objects as
there are messages, each message is one object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from penrose_host.formats.text import Span, utf8_fault

__all__ = ["looks_right", "spans_of"]

_OPEN, _CLOSE = b"{}"
_BLANK = b" \t\r\n"
#: What the parser takes for numbers, and JSON libraries do not.
_NO_NUMBERS = re.compile(rb"(?:Inf|-NaN)[ \t\r\n]*[,}\]]")
#: So many bytes are looked at together: what is made of them stays in the cache, and is no memory to ask for anew.
_STRETCH = 256 << 10


def looks_right(messages: Sequence[bytes], joined: bytes) -> bool:
    """Whether no message needs a closer look; `joined`: all of them, each with a line end behind it."""
    lengths = np.fromiter(map(len, messages), np.int64, len(messages))
    ends = np.cumsum(lengths + 1)
    characters = np.frombuffer(joined, dtype=np.uint8)
    return bool(
        (characters[ends - lengths - 1] == _OPEN).all()
        and (characters[ends - 2] == _CLOSE).all()
        and utf8_fault(joined) is None
        and not (_may_have_no_number(characters) and _NO_NUMBERS.search(joined))
    )


def spans_of(messages: Sequence[bytes]) -> list[Span]:
    """Where each message is in all of them joined, and its fault, if it cannot be parsed."""
    spans = []
    start = 0
    for message in messages:
        spans.append(Span(start, start + len(message), _fault(message)))
        start += len(message) + 1
    return spans


def _fault(message: bytes) -> str | None:
    content = message.strip(_BLANK)
    if not content:
        return "the message is empty"
    if content[0] != _OPEN or content[-1] != _CLOSE:
        return "the message is not a JSON object"
    if _NO_NUMBERS.search(content):
        try:
            json.loads(content)
        except (ValueError, RecursionError) as error:
            return f"it is not a JSON object: {error}"
    return utf8_fault(message)


def _may_have_no_number(characters: npt.NDArray[np.uint8]) -> bool:
    """Whether `In` or `-N` is there, which is sooner known than what `_NO_NUMBERS` finds. A line end comes last."""
    for start in range(0, len(characters), _STRETCH):
        stretch = characters[start : start + _STRETCH]
        infinities = start + np.flatnonzero(stretch == ord("I"))
        others = start + np.flatnonzero(stretch == ord("N"))
        if (characters[infinities + 1] == ord("n")).any() or (characters[others - 1] == ord("-")).any():
            return True
    return False
