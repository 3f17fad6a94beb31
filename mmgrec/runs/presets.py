"""Named settings of the whole method. A section names a part; its ``name``, if any, the plugin.

`recipe` is what wins on validation data and the default; `no-features` is the recipe without the item graphs of the
modalities, the honest control beside it (only items that nobody has touched still take their place from features);
`paper` keeps the paper's choices; `published-code` is the paper with the departures of the authors' released code, each
of which is one setting (`DEPARTURES`). A section applies to the fields that the chosen plugin has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

__all__ = ["DEPARTURES", "PRESETS", "differing", "label_of", "part_of", "preset_of"]

Sections = Mapping[str, Mapping[str, object]]

_PUBLISHED = "published-beam"
#: What the released code does otherwise than the paper, each laid over the preset `paper`.
DEPARTURES: Mapping[str, Sections] = {
    "two stages": {"quantizer": {"schedule": "two-stage"}},
    "no free item vectors": {"quantizer": {"graph": {"free_items": False}}},
    "one vocabulary": {"network": {"shared_vocabulary": True}},
    "norms untrained": {"network": {"train_norms": False}},
    "target in its input": {"training": {"target_in_input": True}},
    "one subsample for ever": {"training": {"subsample": "once"}},
    "no trie": {"decoder": {"name": _PUBLISHED, "trie": False, "unseen": True}},
    "seen items stay": {"decoder": {"name": _PUBLISHED, "trie": True, "unseen": False}},
}

PRESETS: dict[str, Sections] = {
    "recipe": {"decoder": {"num_beams": 100}},  # the rest of the recipe is the defaults of the classes
    "no-features": {
        "decoder": {"num_beams": 100},
        "quantizer": {"graph": {"item_graph_scale": [0.0]}},
        "memory": {"feature_weight": [0.0]},
    },
    "paper": {
        "memory": {"name": "none"},
        "quantizer": {
            "codebook_size": 128,
            "schedule": "alternating",
            "graph": {
                "convolution": "sage",
                "fuse_features": True,
                "losses": ["bpr"],
                "item_graph_scale": [0.0],
                "dim": 64,
                "regularization": [1e-2],
            },
            "autoencoder": {"warmup_epochs": 0, "move_to_means": False},
        },
        "network": {
            "num_encoder_layers": 2,
            "num_decoder_layers": 2,
            "feedforward_dim": 64,
            "dropout": 0.2,
            "norm": "post",
            "head": "tokens",
            "moment_axes": 0,
            "user_input": "history",
            "history_length": 32,
        },
        "training": {
            "targets": "interactions",
            "optimizer": "adam",
            "learning_rate": 1e-3,
            "weight_decay": 0.0,
            "schedule": "constant",
            "epochs": 60,
            "validate_every": 5,
            "patience": 4,
            "validation_users": 2000,
        },
    },
}
PRESETS["published-code"] = {
    "memory": {"name": "none"},
    "quantizer": {
        **PRESETS["paper"]["quantizer"],
        "schedule": "two-stage",
        "graph": {**cast(Mapping[str, object], PRESETS["paper"]["quantizer"]["graph"]), "free_items": False},
    },
    "network": {**PRESETS["paper"]["network"], "shared_vocabulary": True, "train_norms": False},
    "training": {**PRESETS["paper"]["training"], "target_in_input": True, "subsample": "once"},
    "decoder": {"name": _PUBLISHED},
}


def part_of(preset: str, part: str, default: str) -> str:
    """The plugin that a preset has for a part, where it names one."""
    return str(PRESETS.get(preset, {}).get(part, {}).get("name", default))


def differing(one: str, other: str, parts: Mapping[str, str]) -> set[str]:
    """The parts, each with the plugin that is taken by default, for which two presets have different plugins."""
    return {part for part, default in parts.items() if part_of(one, part, default) != part_of(other, part, default)}


def label_of(preset: str) -> str:
    """How MMGRec by another preset is called in results."""
    return f"mmgrec ({preset})"


def preset_of(label: str) -> str:
    """The preset of a row that `label_of` named."""
    return label.removeprefix("mmgrec (").removesuffix(")")
