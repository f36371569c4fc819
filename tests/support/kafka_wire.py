"""As much of Kafka's protocol as a proxy needs: it reads and changes a few responses, in versions it knows.

Clients never get to use newer versions, because the proxy tells them that the broker knows none.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["API_VERSIONS", "FETCH", "FIND_COORDINATOR", "LIST_OFFSETS", "METADATA", "Request", "Rules", "rewritten"]

FETCH, LIST_OFFSETS, METADATA, FIND_COORDINATOR, API_VERSIONS = 1, 2, 3, 10, 18
#: The newest versions before names gave way to ids and arrays to compact ones.
_NEWEST = {FETCH: 11, LIST_OFFSETS: 5, METADATA: 8, FIND_COORDINATOR: 2}
_EARLIEST_TIME = 0


@dataclass(frozen=True, slots=True)
class Request:
    """What a response answers; `body` is kept for ListOffsets only."""

    key: int
    version: int
    body: bytes = b""

    @classmethod
    def parse(cls, frame: bytes) -> tuple[int, Request]:
        """Correlation id and request of a frame without its length."""
        key, version, correlation, length = struct.unpack_from(">hhih", frame)
        return correlation, cls(key, version, frame[10 + max(length, 0) :] if key == LIST_OFFSETS else b"")


@dataclass
class Rules:
    """How responses are changed: `address` gives the proxy's own (host, port) for a broker's.

    `shown`: topic → how many of its partitions clients may see. `times`: (topic, partition) → timestamps of its
    messages from offset 0 on, for brokers that cannot look them up.
    """

    address: Callable[[str, int], tuple[str, int]]
    shown: Mapping[str, int] = field(default_factory=dict)
    times: Mapping[tuple[str, int], Sequence[int]] = field(default_factory=dict)


def rewritten(request: Request, frame: bytes, rules: Rules) -> bytes:
    """The response frame (without its length) that the client is to get."""
    walk = _Walk(frame)
    walk.fixed("i")  # correlation id
    if request.key == API_VERSIONS:
        return _api_versions(frame, request.version)
    if request.key == METADATA:
        _metadata(walk, request.version, rules)
    elif request.key == FIND_COORDINATOR:
        _coordinator(walk, request.version, rules)
    elif request.key == LIST_OFFSETS and rules.times:
        _offsets(walk, request, rules.times)
    return walk.end()


class _Walk:
    """Goes through a frame and copies it, where it is not told otherwise."""

    def __init__(self, frame: bytes) -> None:
        self._frame = frame
        self._at = 0
        self._made: list[bytes] = []

    def take(self, layout: str) -> int:
        """The next number, not copied."""
        (value,) = struct.unpack_from(">" + layout, self._frame, self._at)
        self._at += struct.calcsize(">" + layout)
        return int(value)

    def put(self, layout: str, *values: int) -> None:
        self._made.append(struct.pack(">" + layout, *values))

    def fixed(self, layout: str) -> int:
        """The next number, copied."""
        value = self.take(layout)
        self.put(layout, value)
        return value

    def take_text(self) -> str | None:
        length = self.take("h")
        if length < 0:
            return None
        text = self._frame[self._at : self._at + length].decode()
        self._at += length
        return text

    def put_text(self, text: str | None) -> None:
        data = b"" if text is None else text.encode()
        self.put("h", -1 if text is None else len(data))
        self._made.append(data)

    def text(self) -> str | None:
        value = self.take_text()
        self.put_text(value)
        return value

    def address(self, rules: Rules) -> None:
        host, port = self.take_text(), self.take("i")
        if host and port > 0:
            host, port = rules.address(host, port)
        self.put_text(host)
        self.put("i", port)

    def numbers(self) -> None:
        """An array of int32, copied."""
        for _ in range(self.fixed("i")):
            self.fixed("i")

    def mark(self) -> int:
        return len(self._made)

    def cut(self, mark: int) -> None:
        """Forget what was copied since the mark."""
        del self._made[mark:]

    def patch(self, mark: int, layout: str, value: int) -> None:
        """Write the number that was put at the mark anew."""
        self._made[mark] = struct.pack(">" + layout, value)

    def end(self) -> bytes:
        return b"".join([*self._made, self._frame[self._at :]])


def _api_versions(frame: bytes, version: int) -> bytes:
    """Lower the newest version of each request that the proxy changes; the length stays."""
    changed = bytearray(frame)
    (error,) = struct.unpack_from(">h", frame, 4)
    if error:  # of the version itself; the client asks again in another
        return frame
    at = 6
    if version >= 3:
        count, shift = 0, 0
        while True:
            byte = frame[at]
            count |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if not byte & 0x80:
                break
        count -= 1
    else:
        (count,) = struct.unpack_from(">i", frame, at)
        at += 4
    for _ in range(count):
        key, _, newest = struct.unpack_from(">hhh", frame, at)
        struct.pack_into(">h", changed, at + 4, min(newest, _NEWEST.get(key, newest)))
        at += 6
        if version >= 3:
            assert frame[at] == 0, "a version with tagged fields"
            at += 1
    return bytes(changed)


def _metadata(walk: _Walk, version: int, rules: Rules) -> None:
    assert version <= _NEWEST[METADATA]
    if version >= 3:
        walk.fixed("i")
    for _ in range(walk.fixed("i")):
        walk.fixed("i")
        walk.address(rules)
        if version >= 1:
            walk.text()
    if version >= 2:
        walk.text()
    if version >= 1:
        walk.fixed("i")
    for _ in range(walk.fixed("i")):
        walk.fixed("h")
        topic = walk.text()
        if version >= 1:
            walk.fixed("b")
        _partitions(walk, version, rules.shown.get(topic or ""))
        if version >= 8:
            walk.fixed("i")


def _partitions(walk: _Walk, version: int, shown: int | None) -> None:
    place = walk.mark()
    kept = count = walk.fixed("i")
    for _ in range(count):
        mark = walk.mark()
        walk.fixed("h")
        number = walk.fixed("i")
        walk.fixed("i")
        if version >= 7:
            walk.fixed("i")
        walk.numbers()
        walk.numbers()
        if version >= 5:
            walk.numbers()
        if shown is not None and number >= shown:
            walk.cut(mark)
            kept -= 1
    walk.patch(place, "i", kept)


def _coordinator(walk: _Walk, version: int, rules: Rules) -> None:
    assert version <= _NEWEST[FIND_COORDINATOR]
    if version >= 1:
        walk.fixed("i")
    walk.fixed("h")
    if version >= 1:
        walk.text()
    walk.fixed("i")
    walk.address(rules)


def _offsets(walk: _Walk, request: Request, times: Mapping[tuple[str, int], Sequence[int]]) -> None:
    asked = _asked_times(request)
    if request.version >= 2:
        walk.fixed("i")
    for _ in range(walk.fixed("i")):
        topic = walk.text() or ""
        for _ in range(walk.fixed("i")):
            partition = walk.fixed("i")
            walk.fixed("h")
            time, offset = walk.take("q"), walk.take("q")
            wanted = asked[topic, partition]
            if wanted >= _EARLIEST_TIME and (topic, partition) in times:
                stamps = times[topic, partition]
                offset = next((at for at, stamp in enumerate(stamps) if stamp >= wanted), -1)
                time = stamps[offset] if offset >= 0 else -1
            walk.put("qq", time, offset)
            if request.version >= 4:
                walk.fixed("i")


def _asked_times(request: Request) -> dict[tuple[str, int], int]:
    walk = _Walk(request.body)
    walk.take("i")
    if request.version >= 2:
        walk.take("b")
    asked = {}
    for _ in range(walk.take("i")):
        topic = walk.take_text() or ""
        for _ in range(walk.take("i")):
            partition = walk.take("i")
            if request.version >= 4:
                walk.take("i")
            asked[topic, partition] = walk.take("q")
    return asked
