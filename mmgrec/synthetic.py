"""Makes data sets with planted structure, whose true answers are known. Seeded, any size; no files.

`planted` imitates the paper's kind of data: every modality shows one factor of an item's meaning, users have tastes
over all factors, popularity is skewed, and a part of the interactions is noise. `checkerboard` and, for ordered data,
`tours` are toys with one right answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgrec.data import PARTS, TEST, TRAIN, VALID, Dataset, Interactions, leave_one_out_split, random_split

__all__ = ["MODALITIES", "affinity", "checkerboard", "planted", "tours"]

MODALITIES: Mapping[str, int] = {"visual": 64, "acoustic": 32, "text": 48}  # name -> dim
_BLOCK = 2048  # users whose affinities are held at a time

Array = NDArray[Any]  # Any: numpy's own spelling of "whatever number type"


def planted(
    *,
    num_users: int = 1000,
    num_items: int = 600,
    mean_interactions: float = 20.0,
    modalities: Mapping[str, int] = MODALITIES,
    num_clusters: int = 8,
    factor_dim: int = 6,
    taste_spread: float = 0.7,
    item_spread: float = 0.6,
    focus: float = 6.0,
    popularity_exponent: float = 0.6,
    interaction_noise: float = 0.1,
    feature_noise: float = 0.3,
    missing: float = 0.05,
    cold_items: float = 0.01,
    seed: int = 0,
    name: str = "synthetic",
) -> Dataset:
    """Users with tastes choose among items with meanings; features show the meanings, one factor a modality.

    An item has one vector per modality: the centre of one of `num_clusters` clusters plus a deviation of its own. A
    user has the taste of a cluster of users plus a deviation, and picks items without repetition, with logits `focus` ·
    taste · meaning + log popularity. A modality is a random linear map of its factor alone, plus noise: only all of
    them together tell the meaning.

    Args:
        num_users, num_items: sizes.
        mean_interactions: items of a user, log-normally spread, at least 5.
        modalities: name -> dim of the features.
        num_clusters: clusters of each factor, and of tastes.
        factor_dim: dimension of one factor.
        taste_spread, item_spread: size of the own deviations, relative to the centres.
        focus: how much taste decides; 0 = popularity alone.
        popularity_exponent: of the Zipf law; 0 = none.
        interaction_noise: share of interactions that are uniformly random.
        feature_noise: standard deviation, relative to the features' own.
        missing: share of items without a modality, drawn for each; their rows are zero.
        cold_items: share of items without training interactions; their interactions are in the test part.
        seed: the same seed gives the same data set.

    Returns:
        The data set, split 80/10/10 per user. Its `latent` holds ``user_taste [U, F*d]``, ``item_meaning [I, F*d]``,
        ``item_popularity [I]`` (log), ``user_cluster [U]``, ``item_cluster [I, F]`` and ``item_cold [I]``.
    """
    rng = np.random.default_rng(seed)
    num_factors = len(modalities)
    dim = num_factors * factor_dim
    centre = rng.standard_normal((num_factors, num_clusters, factor_dim))
    item_cluster = rng.integers(num_clusters, size=(num_items, num_factors))
    factor = np.stack([centre[number][item_cluster[:, number]] for number in range(num_factors)], axis=1)  # [I, F, d]
    factor = _unit_scale(factor + item_spread * rng.standard_normal(factor.shape))
    meaning = factor.reshape(num_items, dim)
    prototype = rng.standard_normal((num_clusters, dim))
    user_cluster = rng.integers(num_clusters, size=num_users)
    taste = _unit_scale(prototype[user_cluster] + taste_spread * rng.standard_normal((num_users, dim)))
    taste /= np.linalg.norm(taste, axis=1, keepdims=True)
    rank = rng.permutation(num_items)
    popularity = -popularity_exponent * np.log(rank + 1.0)

    wanted = np.maximum(rng.lognormal(np.log(mean_interactions) - 0.08, 0.4, num_users).round(), 5).astype(np.int64)
    wanted = np.minimum(wanted, num_items // 2)
    user, item = _choose(rng, focus / np.sqrt(num_factors) * taste, meaning, popularity, wanted)
    random_rows = rng.random(len(user)) < interaction_noise
    item[random_rows] = rng.integers(num_items, size=int(random_rows.sum()))
    key = np.unique(user * num_items + item)
    user, item = key // num_items, key % num_items

    part = random_split(user, seed=seed)
    cold = np.zeros(num_items, dtype=bool)
    cold[rng.choice(num_items, size=round(cold_items * num_items), replace=False)] = True
    part[cold[item]] = TEST
    part[~np.isin(user, user[part == TRAIN])] = TRAIN
    features = {
        modality: _features(rng, factor[:, number], size, feature_noise, missing)
        for number, (modality, size) in enumerate(modalities.items())
    }
    latent = {
        "user_taste": taste.astype(np.float32),
        "item_meaning": (focus / np.sqrt(num_factors) * meaning).astype(np.float32),
        "item_popularity": popularity.astype(np.float32),
        "user_cluster": user_cluster,
        "item_cluster": item_cluster,
        "item_cold": np.bincount(item[part == TRAIN], minlength=num_items) == 0,
    }
    return _dataset(name, user, item, part, num_users, num_items, features, latent)


def affinity(data: Dataset, users: Tensor) -> Tensor:
    """The true logits by which the users of a `planted` data set choose: no model can rank better on average.

    Args:
        data: made by `planted`.
        users: ``[B]`` int64.

    Returns:
        ``[B, num_items]`` float32.
    """
    latent = data.latent
    return latent["user_taste"][users] @ latent["item_meaning"].T + latent["item_popularity"]


def checkerboard(*, num_users: int = 64, num_items: int = 32) -> Dataset:
    """Even users like all even items but one, odd users all odd items but one; the missing one must come first.

    User u's missing item is number ``(u // 2) % (num_items // 2)`` of its colour; ``latent["missing"]`` names it. It is
    the test item of users 0, 1, 4, 5, 8 … and the validation item of the others. Modality ``visual`` shows the colour
    and, weaker, which item it is.
    """
    if num_items % 2 or num_items < 6 or num_users < 4:
        raise ValueError("a checkerboard needs an even number of at least 6 items, and 4 users")
    user, item = np.divmod(np.arange(num_users * num_items), num_items)
    likes = user % 2 == item % 2
    user, item = user[likes], item[likes]
    everyone = np.arange(num_users)
    missing = 2 * ((everyone // 2) % (num_items // 2)) + everyone % 2
    held = np.where(everyone // 2 % 2 == 0, TEST, VALID)
    part = np.where(item == missing[user], held[user], TRAIN)
    colour = np.stack([np.arange(num_items) % 2 == 0, np.arange(num_items) % 2 == 1], axis=1)
    visual = np.concatenate([colour, 0.1 * np.eye(num_items)], axis=1).astype(np.float32)
    return _dataset("checkerboard", user, item, part, num_users, num_items, {"visual": visual}, {"missing": missing})


def tours(
    *,
    num_users: int = 200,
    num_items: int = 40,
    num_tours: int = 2,
    length: int = 9,
    feature_dim: int = 16,
    seed: int = 0,
) -> Dataset:
    """Ordered data: each user walks some way along one of several round tours through all items.

    An item's successor is a function of the item and the one before it: that pair tells the tour, the last item alone
    does not. All items are about equally popular. The last item of a user is test, the last but one validation.

    Args:
        num_users, num_items, num_tours: sizes.
        length: items of a user, at most num_items.
        feature_dim: of the random modality ``text``.
        seed: the same seed gives the same data set.

    Returns:
        The data set; its `latent` holds ``user_tour [U]`` and ``next [num_tours, I]``, the successor of each item.
    """
    if not 3 <= length <= num_items:
        raise ValueError(f"a walk has 3 to {num_items} items, got {length}")
    rng = np.random.default_rng(seed)
    tour = np.stack([rng.permutation(num_items) for _ in range(num_tours)])  # [tours, I]: the items in their order
    successor = np.empty_like(tour)
    np.put_along_axis(successor, tour, np.roll(tour, -1, axis=1), axis=1)
    user_tour, start = rng.integers(num_tours, size=num_users), rng.integers(num_items, size=num_users)
    step = np.arange(length)
    item = tour[user_tour[:, None], (start[:, None] + step) % num_items].ravel()
    user, time = np.repeat(np.arange(num_users), length), np.tile(step, num_users)
    text = rng.standard_normal((num_items, feature_dim)).astype(np.float32)
    latent = {"user_tour": user_tour, "next": successor}
    part = leave_one_out_split(user, time)
    return _dataset("tours", user, item, part, num_users, num_items, {"text": text}, latent, time)


def _choose(
    rng: np.random.Generator, taste: Array, meaning: Array, popularity: Array, wanted: Array
) -> tuple[Array, Array]:
    """Each user's items, without repetition, by the Gumbel top-k trick; a block of users at a time."""
    most = int(wanted.max())
    users, items = [], []
    for start in range(0, len(taste), _BLOCK):
        logit = taste[start : start + _BLOCK] @ meaning.T + popularity  # [block, I]
        logit += rng.gumbel(size=logit.shape)
        best = np.argpartition(-logit, most - 1, axis=1)[:, :most]
        order = np.argsort(-np.take_along_axis(logit, best, axis=1), axis=1)
        best = np.take_along_axis(best, order, axis=1)  # [block, most], best first
        taken = np.arange(most) < wanted[start : start + _BLOCK, None]
        users.append(start + taken.nonzero()[0])
        items.append(best[taken])
    return np.concatenate(users), np.concatenate(items)


def _features(rng: np.random.Generator, factor: Array, dim: int, noise: float, missing: float) -> Array:
    """A random linear view ``[I, dim]`` of a factor ``[I, d]``, with noise and missing rows."""
    view = _unit_scale(factor @ rng.standard_normal((factor.shape[1], dim)))
    view = view + noise * rng.standard_normal(view.shape)
    view[rng.random(len(view)) < missing] = 0
    return view.astype(np.float32)


def _unit_scale(x: Array) -> Array:
    """The array over its standard deviation."""
    return np.asarray(x / x.std())


def _dataset(
    name: str,
    user: Array,
    item: Array,
    part: Array,
    num_users: int,
    num_items: int,
    features: Mapping[str, Array],
    latent: Mapping[str, Array],
    time: Array | None = None,
) -> Dataset:
    """A Dataset of rows ``[N]`` whose parts are known."""
    parts = {
        label: Interactions.of(
            torch.from_numpy(user[part == number]),
            torch.from_numpy(item[part == number]),
            num_users=num_users,
            num_items=num_items,
            time=None if time is None else torch.from_numpy(time[part == number]),
        )
        for number, label in enumerate(PARTS)
    }
    return Dataset(
        name=name,
        train=parts["train"],
        valid=parts["valid"],
        test=parts["test"],
        features={key: torch.from_numpy(value) for key, value in features.items()},
        latent={key: torch.from_numpy(value) for key, value in latent.items()},
        ordered=time is not None,
    )
