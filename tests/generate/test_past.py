"""Caches that many rows continue take little room, however unevenly the rows continue them."""

from __future__ import annotations

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from timesight.generate.past import MAX_SLOTS_PER_ROW, _split_crowded


@given(st.lists(st.integers(1, 100), min_size=1, max_size=50))
def test_slots_and_copies_are_few(counts: list[int]) -> None:
    rows = iter(range(sum(counts)))
    rows_of = [(node, [next(rows) for _ in range(count)]) for node, count in enumerate(counts)]
    parts = _split_crowded(rows_of)
    assert list(chain.from_iterable(mine for _, mine in parts)) == list(range(sum(counts)))
    assert all(row in rows_of[node][1] for node, mine in parts for row in mine)
    assert len(parts) <= 2 * len(counts)
    assert len(parts) * max(len(mine) for _, mine in parts) <= MAX_SLOTS_PER_ROW * sum(counts)


def test_even_rows_share_one_cache() -> None:
    rows_of = [(node, list(range(8 * node, 8 * node + 8))) for node in range(4)]
    assert _split_crowded(rows_of) == rows_of
