"""ClickHouse's own compressed blocks: packed as its clients pack them, and nothing broken gets through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.clickhouse.compression import in_blocks, out_of_blocks
from infra.clickhouse.statement import StatementError


@given(st.binary(max_size=5000))
def test_there_and_back(data: bytes) -> None:
    assert out_of_blocks(in_blocks(data)) == data


def test_large_data_is_cut() -> None:
    data = bytes(range(256)) * 10_000
    assert out_of_blocks(in_blocks(data)) == data
    assert out_of_blocks(in_blocks(data[:9]) + in_blocks(data[9:])) == data


def test_the_head_of_a_block() -> None:
    """A checksum of 16 bytes, LZ4's number, the bytes that follow and those they become."""
    block = in_blocks(b"1\n")
    assert block[16] == 0x82
    assert int.from_bytes(block[17:21], "little") == len(block) - 16
    assert int.from_bytes(block[21:25], "little") == 2


@given(st.binary(min_size=1, max_size=200), st.data())
def test_what_is_broken_is_refused(data: bytes, draw: st.DataObject) -> None:
    block = bytearray(in_blocks(data))
    block[draw.draw(st.integers(0, len(block) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    with pytest.raises(StatementError, match="271"):
        out_of_blocks(bytes(block))


def test_a_small_block_that_claims_much_is_refused() -> None:
    with pytest.raises(StatementError):
        out_of_blocks(in_blocks(b"x" * 2_000_000), limit=1000)
