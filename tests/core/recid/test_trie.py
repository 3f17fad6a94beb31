"""The trie as flat arrays: eight items by hand, and any table against its tuples."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgrec.recid.table import RecIDTable
from mmgrec.recid.trie import Trie

# items         0          1          2          3          4          5          6          7
ROWS = [(2, 0, 0), (0, 1, 0), (0, 1, 1), (2, 3, 0), (0, 0, 0), (1, 2, 0), (2, 0, 1), (2, 0, 2)]
# sorted: (0,0,0)=4  (0,1,0)=1  (0,1,1)=2  (1,2,0)=5  (2,0,0)=0  (2,0,1)=6  (2,0,2)=7  (2,3,0)=3


def _trie(rows: list[tuple[int, ...]], sizes: tuple[int, ...]) -> Trie:
    return Trie.of(RecIDTable(token=torch.tensor(rows), level_sizes=sizes))


@pytest.fixture
def trie() -> Trie:
    return _trie(ROWS, (3, 4, 3))


def test_leaves_are_the_sorted_rec_ids(trie: Trie) -> None:
    assert trie.leaf_item.tolist() == [4, 1, 2, 5, 0, 6, 7, 3]
    assert trie.item_leaf.tolist() == [4, 1, 2, 7, 0, 3, 5, 6]


def test_nodes_of_each_level_by_hand(trie: Trie) -> None:
    assert [trie.num_nodes(level) for level in (-1, 0, 1, 2)] == [1, 3, 5, 8]
    assert [tensor.tolist() for tensor in trie.first_leaf] == [[0, 3, 4, 8], [0, 1, 3, 4, 7, 8]]
    assert [tensor.tolist() for tensor in trie.first_child] == [[0, 2, 3, 5], [0, 1, 3, 4, 7, 8]]


def test_tokens_of_nodes_by_hand(trie: Trie) -> None:
    assert trie.node_token(0).tolist() == [0, 1, 2]
    assert trie.node_token(1).tolist() == [0, 1, 2, 0, 3]
    assert trie.node_token(2).tolist() == [0, 0, 1, 0, 0, 1, 2, 0]


def test_leaf_intervals_by_hand(trie: Trie) -> None:
    assert [part.tolist() for part in trie.leaf_interval(-1)] == [[0], [8]]
    assert [part.tolist() for part in trie.leaf_interval(0)] == [[0, 3, 4], [3, 4, 8]]
    assert [part.tolist() for part in trie.leaf_interval(2)] == [list(range(8)), list(range(1, 9))]


def test_node_of_item_by_hand(trie: Trie) -> None:
    assert trie.node_of_item(-1).tolist() == [0] * 8
    assert trie.node_of_item(0).tolist() == [2, 0, 0, 2, 0, 1, 2, 2]
    assert trie.node_of_item(1).tolist() == [3, 1, 1, 4, 0, 2, 3, 3]
    assert trie.node_of_item(2).tolist() == trie.item_leaf.tolist()


def test_children_lie_side_by_side(trie: Trie) -> None:
    row, child = trie.children(0, torch.tensor([2, 0, 2]))
    assert row.tolist() == [0, 0, 1, 1, 2, 2]
    assert child.tolist() == [3, 4, 0, 1, 3, 4]


def test_root_has_the_nodes_of_level_0_as_children(trie: Trie) -> None:
    row, child = trie.children(-1, torch.tensor([0]))
    assert (row.tolist(), child.tolist()) == ([0, 0, 0], [0, 1, 2])
    assert trie.parent(0).tolist() == [0, 0, 0]


def test_children_of_no_nodes_are_none(trie: Trie) -> None:
    row, child = trie.children(0, torch.tensor([], dtype=torch.int64))
    assert (row.numel(), child.numel()) == (0, 0)


def test_last_inner_level_shares_one_tensor(trie: Trie) -> None:
    assert trie.first_child[-1] is trie.first_leaf[-1]
    assert trie.to("cpu").first_child[-1] is trie.to("cpu").first_leaf[-1]


def test_tokens_take_the_smallest_type_that_holds_them() -> None:
    trie = _trie([(255, 256, 32768), (0, 0, 0)], (256, 257, 32769))
    assert [column.dtype for column in trie.token] == [torch.uint8, torch.int16, torch.int32]
    assert [trie.node_token(level).tolist() for level in range(3)] == [[0, 255], [0, 256], [0, 32768]]


def test_one_item() -> None:
    trie = _trie([(0, 3)], (1, 4))
    assert [trie.num_nodes(level) for level in (-1, 0, 1)] == [1, 1, 1]
    assert (trie.node_token(1).tolist(), trie.node_of_item(0).tolist()) == ([3], [0])


def test_one_level() -> None:
    trie = _trie([(2,), (0,)], (3,))
    assert (trie.num_nodes(0), trie.first_leaf, trie.first_child) == (2, (), ())
    assert trie.children(-1, torch.tensor([0]))[1].tolist() == [0, 1]
    assert trie.node_of_item(0).tolist() == [1, 0]


def test_no_items_are_refused() -> None:
    with pytest.raises(ValueError, match="got 0"):
        Trie.of(RecIDTable(token=torch.empty(0, 2, dtype=torch.int64), level_sizes=(2, 2)))


def test_level_that_does_not_exist_is_refused(trie: Trie) -> None:
    with pytest.raises(ValueError, match="level 3 of a trie with levels 0 … 2"):
        trie.num_nodes(3)


def test_at_most_eight_bytes_an_item_beyond_the_sorted_table() -> None:
    drawn = torch.randint(0, 64, (100_000, 3), generator=torch.Generator().manual_seed(0)).unique(dim=0)
    trie = Trie.of(RecIDTable(token=drawn, level_sizes=(64, 64, 64)))
    table = sum(part.numel() * part.element_size() for part in (*trie.token, trie.leaf_item))
    assert trie.num_bytes - table <= 8 * trie.num_items


@st.composite
def _tables(draw: st.DrawFn) -> tuple[list[tuple[int, ...]], tuple[int, ...]]:
    sizes = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 5, 300]), min_size=1, max_size=4)))
    rows = draw(
        st.lists(st.tuples(*(st.integers(0, size - 1) for size in sizes)), min_size=1, max_size=30, unique=True)
    )
    return rows, sizes


@settings(max_examples=100, deadline=None)
@given(_tables())
def test_any_table_against_its_tuples(case: tuple[list[tuple[int, ...]], tuple[int, ...]]) -> None:
    rows, sizes = case
    trie = _trie(rows, sizes)
    ordered = sorted(rows)
    assert [rows[item] for item in trie.leaf_item.tolist()] == ordered
    for level in range(len(sizes)):
        prefixes = sorted({row[: level + 1] for row in rows})
        start, end = trie.leaf_interval(level)
        assert [ordered[leaf][: level + 1] for leaf in start.tolist()] == prefixes
        assert [ordered[leaf - 1][: level + 1] for leaf in end.tolist()] == prefixes
        assert trie.node_token(level).tolist() == [prefix[-1] for prefix in prefixes]
        assert trie.node_of_item(level).tolist() == [prefixes.index(row[: level + 1]) for row in rows]
        above = sorted({row[:level] for row in rows})
        assert trie.parent(level).tolist() == [above.index(prefix[:-1]) for prefix in prefixes]
        row, child = trie.children(level - 1, torch.arange(len(above)))
        assert row.tolist() == trie.parent(level).tolist()
        assert child.tolist() == list(range(len(prefixes)))
