"""Dense and sparse modalities become vectors and graphs alike; what is missing stays apart."""

from __future__ import annotations

from dataclasses import replace

import torch

from mmgrec.data import Bag, Dataset
from mmgrec.synthetic import planted
from mmgrec_plugins.representations.item_graph import nearest_bags, nearest_items
from mmgrec_plugins.representations.modalities import ModalityProjection, bag_matrix, modality_projections

PLAIN = planted(num_users=30, num_items=20, mean_interactions=5, seed=1)


def bag(seed: int = 0, *, num_words: int = 7, empty: int = 4) -> Bag:
    generator = torch.Generator().manual_seed(seed)
    item, word = torch.randint(20, (60,), generator=generator), torch.randint(num_words, (60,), generator=generator)
    keep = item != empty
    weight = torch.rand(60, generator=generator) + 0.1
    return Bag.of(item[keep], word[keep], weight[keep], num_items=20, num_words=num_words)


def dense(of: Bag) -> torch.Tensor:
    table = torch.zeros(of.num_items, of.num_words)
    table[torch.repeat_interleave(torch.arange(of.num_items), of.offsets.diff()), of.word] = of.weight
    return table


def with_words() -> Dataset:
    return replace(PLAIN, bags={"words": bag()})


def test_rows_of_a_bag_have_norm_one() -> None:
    norm = torch.from_numpy(bag_matrix(bag()).toarray()).norm(dim=1)
    torch.testing.assert_close(norm, (bag().offsets.diff() > 0).float())
    assert norm[4] == 0


def test_a_bag_is_projected_like_the_dense_table_that_it_stands_for() -> None:
    torch.manual_seed(0)
    module = ModalityProjection(with_words(), "words", 5)
    unit = torch.nn.functional.normalize(dense(bag()), dim=1)
    wanted = unit @ module.weight.T
    has = bag().offsets.diff() > 0
    torch.testing.assert_close(module()[has], wanted[has])


def test_missing_items_share_the_placeholder_and_teach_nothing_else() -> None:
    module = ModalityProjection(with_words(), "words", 5)
    with torch.no_grad():
        module.placeholder.fill_(3.0)
    out = module()
    assert torch.equal(out[4], torch.full((5,), 3.0))
    out[4].sum().backward()
    assert module.weight.grad is not None
    assert not module.weight.grad.any()
    assert module.placeholder.grad is not None
    assert torch.equal(module.placeholder.grad, torch.ones(5))


def test_every_modality_gets_a_projection() -> None:
    data = with_words()
    projections = modality_projections(data, 6)
    assert list(projections) == list(data.modalities)
    assert all(module().shape == (20, 6) for module in projections.values())


def test_neighbours_by_words_are_those_of_the_cosine_without_centring() -> None:
    words = bag(num_words=40)
    unit = torch.nn.functional.normalize(dense(words), dim=1)
    similarity = unit @ unit.T
    similarity.fill_diagonal_(0.0)
    best = similarity.topk(3, dim=1)
    wanted = best.indices.masked_fill(best.values <= 0, -1)
    assert torch.equal(nearest_bags(words, num_neighbors=3, chunk=6), wanted)
    assert (nearest_bags(words, num_neighbors=3)[4] == -1).all()


def test_dense_neighbours_leave_out_what_is_missing() -> None:
    table = dense(bag(num_words=40))
    has = table.ne(0).any(dim=1)
    neighbours = nearest_items(table, has, num_neighbors=3)
    assert (neighbours[4] == -1).all()
    assert not (neighbours == 4).any()
