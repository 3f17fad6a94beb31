"""Named settings of the whole method. A section names a part; its ``name``, if any, the plugin.

`recipe` is what wins on validation data and the default; `no-features` is the recipe without the item graphs of the
modalities, the honest control beside it (only items that nobody has touched still take their place from features);
`paper` keeps the paper's choices. A section applies to the fields that the chosen plugin has.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["PRESETS"]

PRESETS: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    "recipe": {"decoder": {"num_beams": 100}},  # the rest of the recipe is the defaults of the classes
    "no-features": {"decoder": {"num_beams": 100}, "quantizer": {"graph": {"item_graph_scale": [0.0]}}},
    "paper": {
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
            "user_input": "history",
            "history_length": 32,
        },
        "training": {
            "targets": "interactions",
            "optimizer": "adam",
            "weight_decay": 0.0,
            "schedule": "constant",
            "epochs": 60,
            "validate_every": 5,
            "patience": 4,
        },
    },
}
