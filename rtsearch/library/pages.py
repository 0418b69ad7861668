"""Check what the pages of a Parquet file decompress to, before any of them is decompressed.

The footer of a file says how much its pages hold, but pyarrow believes the page headers, which may differ: of
64 kB of zstd can come 2 GB. So footer and page headers are read here (parquet.thrift, in Thrift's compact
protocol). pyarrow's own view of a forged footer is no help: some of its attributes end the process.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["text_bytes", "unpacked_bytes"]

_MOST_HEADER_BYTES = 1 << 16  # of a page; it may hold the least and the largest text of the page
_MOST_DEPTH = 16
_STOP, _TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(13)
# Numbers of fields: of FileMetaData, RowGroup, ColumnChunk, ColumnMetaData and PageHeader.
_ROW_GROUPS, _COLUMNS, _COLUMN = 4, 1, 3
_CHUNK_BYTES, _DATA_START, _DICTIONARY_START = 7, 9, 11
_PAGE_UNPACKED, _PAGE_PACKED = 2, 3

Fields = dict[int, Any]


def unpacked_bytes(file: BinaryIO) -> int:
    """Return the bytes that all pages of a Parquet file claim to take once they are decompressed.

    Args:
        file: opened for reading; its position changes.

    Raises:
        ValueError: the footer is damaged, or pages do not fill the place that it gives them.
    """
    total = 0
    for column in _columns(file):
        at = column[_DATA_START]
        if column.get(_DICTIONARY_START, 0) > 0:
            at = min(at, column[_DICTIONARY_START])
        end = at + column[_CHUNK_BYTES]
        while 0 <= at < end:
            file.seek(at)
            thrift = _Thrift(file.read(_MOST_HEADER_BYTES))
            header = thrift.fields()
            packed, unpacked = header.get(_PAGE_PACKED, -1), header.get(_PAGE_UNPACKED, -1)
            if not (_is_count(packed) and _is_count(unpacked)):
                raise ValueError("a page of it has no size")
            total += unpacked
            at += thrift.at + packed
        if at != end:
            raise ValueError("its pages are not where its footer says")
    return total


def text_bytes(column: pa.ChunkedArray) -> int:
    """Return the bytes that a column of dictionaries takes as plain texts."""
    lengths = (pc.binary_length(chunk.dictionary).take(chunk.indices) for chunk in column.chunks)
    return sum(pc.sum(each).as_py() or 0 for each in lengths)


def _columns(file: BinaryIO) -> Iterator[Fields]:
    """Yield the ColumnMetaData of all columns in all groups of rows."""
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - 8))
    length, magic = struct.unpack("<I4s", file.read(8).rjust(8))
    if magic != b"PAR1" or length > size - 8:
        raise ValueError("it has no footer")
    file.seek(size - 8 - length)
    groups = _Thrift(file.read(length)).fields().get(_ROW_GROUPS, [])
    try:
        for group in groups:
            for chunk in group[_COLUMNS]:
                column = chunk[_COLUMN]
                numbers = (_CHUNK_BYTES, _DATA_START)
                if not all(_is_count(column[number]) for number in numbers):
                    raise ValueError("its footer is damaged")
                yield column
    except (LookupError, TypeError):
        raise ValueError("its footer is damaged") from None


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


class _Thrift:
    """Reader of structs in Thrift's compact protocol.

    Args:
        data: bytes that begin with a struct.

    Attributes:
        at: number of bytes read so far.
    """

    def __init__(self, data: bytes) -> None:
        self.at = 0
        self._data = data

    def fields(self) -> Fields:
        """Return the fields of a struct by number; those of other kinds than numbers and lists are None.

        Raises:
            ValueError: the bytes are no whole struct, or one that is nested deeply.
        """
        try:
            return self._struct(_MOST_DEPTH)
        except IndexError:
            raise ValueError("a header of it is cut off") from None

    def _struct(self, depth: int) -> Fields:
        if depth == 0:
            raise ValueError("a header of it is nested too deeply")
        found: Fields = {}
        number = 0
        while (head := self._byte()) & 15 != _STOP:
            kind, step = head & 15, head >> 4
            number = number + step if step else self._signed()
            if kind not in (_TRUE, _FALSE):  # which the kind itself tells
                found[number] = self._value(kind, depth - 1)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (_I16, _I32, _I64):
            return self._signed()
        if kind == _STRUCT:
            return self._struct(depth)
        if kind in (_LIST, _SET):
            return self._list(depth)
        if kind == _BINARY:
            length = self._varint()
            self.at += length
        elif kind in (_TRUE, _FALSE, _BYTE):
            self.at += 1
        elif kind == _DOUBLE:
            self.at += 8
        else:
            raise ValueError("a header of it has a field of an unknown kind")
        return None

    def _list(self, depth: int) -> list[Any]:
        if depth == 0:
            raise ValueError("a header of it is nested too deeply")
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._varint()
        if count > len(self._data) - self.at:  # each takes a byte at least
            raise ValueError("a header of it is cut off")
        return [self._value(head & 15, depth - 1) for _ in range(count)]

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
        return value | byte << shift

    def _signed(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)
