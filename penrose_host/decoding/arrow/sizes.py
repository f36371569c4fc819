"""What the metadata of an Arrow IPC message announces, read before Arrow acts on it.

Arrow allocates what a compressed buffer says it unpacks to. The metadata is a flatbuffer: tables that start with the
distance to a list of 16-bit distances to their fields.
"""

from __future__ import annotations

import struct

__all__ = ["unpacked_bytes"]

_RECORD_BATCH, _DICTIONARY_BATCH = 3, 2
#: Numbers of fields.
_HEADER_TYPE, _HEADER = 1, 2
_BUFFERS, _COMPRESSION = 2, 3
_DATA = 1
_BUFFER = struct.Struct("<qq")


def unpacked_bytes(metadata: bytes, body: memoryview) -> int:
    """How many bytes the buffers of a message have once unpacked; 0 where they are not compressed.

    Raises struct.error or ValueError where the metadata is broken.
    """
    message = _target(metadata, 0)
    kind, header = _field(metadata, message, _HEADER_TYPE), _field(metadata, message, _HEADER)
    if not kind or not header or metadata[kind] not in (_RECORD_BATCH, _DICTIONARY_BATCH):
        return 0
    batch = _target(metadata, header)
    if metadata[kind] == _DICTIONARY_BATCH:
        data = _field(metadata, batch, _DATA)
        if not data:
            return 0
        batch = _target(metadata, data)
    if not _field(metadata, batch, _COMPRESSION):
        return 0
    field = _field(metadata, batch, _BUFFERS)
    if not field:
        return 0
    vector = _target(metadata, field)
    (count,) = struct.unpack_from("<I", metadata, vector)
    total = 0
    for offset, length in _BUFFER.iter_unpack(metadata[vector + 4 : vector + 4 + _BUFFER.size * count]):
        if length:
            if not 0 <= offset <= len(body) - 8:
                raise ValueError("a buffer lies outside of the message")
            (size,) = struct.unpack_from("<q", body, offset)
            if size < -1:
                raise ValueError("a buffer has a negative length")
            total += length if size == -1 else size  # -1: this one is not compressed
    return total


def _target(data: bytes, at: int) -> int:
    """Where the distance at this place leads."""
    return at + int(struct.unpack_from("<I", data, at)[0])


def _field(data: bytes, table: int, number: int) -> int:
    """Where a field of a table is; 0 where the table does not have it."""
    fields = table - int(struct.unpack_from("<i", data, table)[0])
    if fields < 0:
        raise ValueError("a table lies outside of the metadata")
    (size,) = struct.unpack_from("<H", data, fields)
    entry = 4 + 2 * number
    if entry + 2 > size:
        return 0
    (distance,) = struct.unpack_from("<H", data, fields + entry)
    return table + int(distance) if distance else 0
