"""The built-in studies: the paper's tables and figures, as plain values of the same shape as a file of one's own.

A row whose plugin or preset is not installed is left out, and the results say so. Grids follow the paper where it gives
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmgrec.runs import DEPARTURES

__all__ = ["STUDIES"]

Table = Mapping[str, Any]  # Any: TOML


def _rows(*labels: str) -> Table:
    return {label: {"name": label} for label in labels}


def _points(*points: tuple[object, ...], names: tuple[str, ...]) -> list[Table]:
    return [dict(zip(names, point, strict=True)) for point in points]


def _factors(*points: tuple[int, str, float]) -> list[Table]:
    """Points of (dim, loss, regularization); the softmax takes no notice of the last, nor BPR of the temperature."""
    return [
        {"dim": [dim], "losses": [loss], "regularization": [strength], "temperature": 0.2}
        for dim, loss, strength in points
    ]


def _temperatures(*points: tuple[int, float]) -> list[Table]:
    return [{**_factors((dim, "softmax", 1e-2))[0], "temperature": value} for dim, value in points]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number > 1 else ''}"


# What mmgrec's own fit chooses from is open to every rival: two strengths of BPR and three temperatures of the softmax
# at 128 dimensions, and 64 beside them. What has a closed form has six points.
_BPR = _factors((64, "bpr", 1e-2), (128, "bpr", 1e-2), (128, "bpr", 3e-3))
_SOFTMAX = _temperatures((128, 0.2), (128, 0.15), (128, 0.3))
_RANKING = [*_BPR, *_SOFTMAX]
_BM3 = _points(  # a loss of cosines cannot bear L2; the last point is for dense sets
    ([64], [0.0], 2.0, 1, 0.5, 1e-3, 2048),
    ([128], [0.0], 2.0, 1, 0.5, 1e-3, 2048),
    ([128], [0.0], 0.2, 2, 0.3, 5e-3, 4096),
    names=("dim", "regularization", "modal_weight", "num_layers", "dropout", "learning_rate", "batch_size"),
)
_L3AE = _points(  # the sum of l2 and distillation shrinks, as EASE's l2 does; distillation alone draws to the features
    (50.0, 50.0),
    (0.0, 100.0),
    (100.0, 100.0),
    (200.0, 100.0),
    (-200.0, 300.0),
    (0.0, 300.0),
    names=("l2", "distillation"),
)
_PGL = [  # without L2, as its authors
    {**point, "regularization": [0.0], "subgraph": subgraph}
    for subgraph, points in (("local", (*_BPR[:2], _SOFTMAX[0])), ("global", (_BPR[0], _SOFTMAX[0])))
    for point in points
]
_MEMORY = {"memory": {"name": "local-ridge"}}
_WITH_MEMORY = (
    "lightgcn (softmax)",
    "lattice",
    "grcn",
    "ease",
    "l3ae",
    "freedom",
    "pgl",
)  # rivals that get the same memory as well

_TUNE: Mapping[str, Any] = {  # Any: TOML
    "mf": _factors((64, "bpr", 1e-2), (64, "bpr", 3e-2), (128, "bpr", 3e-2)),
    "lightgcn": _BPR,
    "mf (softmax)": _SOFTMAX,
    "lightgcn (softmax)": _SOFTMAX,
    **dict.fromkeys(("graphsage", "ngcf", "gat", "vbpr", "mmgcn", "grcn", "lattice", "lightgt", "freedom"), _RANKING),
    "invrl": _factors((128, "bpr", 1e-2), (64, "bpr", 3e-2), (128, "bpr", 3e-2)),
    "bm3": _BM3,
    "pgl": _PGL,
    "itemknn": {"neighbours": [50, 100, 200], "shrink": [10.0, 50.0]},
    "l3ae": _L3AE,
    "ease": {"l2": [20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]},
}

_OVERALL: Table = {
    "title": "all systems of the paper's Table 2, and what an honest table needs beside them",
    "models": {
        "mmgrec": {"name": "mmgrec", "preset": "recipe"},
        "mmgrec (no-features)": {"name": "mmgrec", "preset": "no-features"},
        "mmgrec (no memory)": {"name": "mmgrec", "preset": "recipe", "memory": {"name": "none"}},
        "mmgrec (stage 1)": {"name": "stage-1"},
        **_rows("mf", "lightgcn"),
        "mf (softmax)": {"name": "mf"},
        "lightgcn (softmax)": {"name": "lightgcn"},
        **_rows("graphsage", "ngcf", "gat", "vbpr", "mmgcn", "grcn", "lattice", "invrl", "lightgt"),
        **_rows("popularity", "itemknn", "ease", "l3ae", "item-memory", "bm3", "freedom", "pgl"),
        "mmgrec (stage 1) + memory": {"name": "stage-1", **_MEMORY},
        **{f"{label} + memory": {"name": label.partition(" ")[0], **_MEMORY} for label in _WITH_MEMORY},
    },
    "tune": {**_TUNE, **{f"{label} + memory": _TUNE[label] for label in _WITH_MEMORY}},
}

_REPRESENTATIONS: Table = {
    "title": "what the Rec-IDs and the encoder's inputs are made of (Table 3)",
    "models": {
        "mmgrec": {"name": "mmgrec"},
        "ID w/o": {"name": "mmgrec", "quantizer": {"name": "rqvae"}},
        "Emb w/o": {"name": "mmgrec", "network": {"item_input": "learnt"}},
    },
}

_ASSIGNMENT: Table = {
    "title": "how Rec-IDs are assigned (Table 4)",
    "models": {
        "mmgrec": {"name": "mmgrec"},
        "hk-means": {"name": "mmgrec", "quantizer": {"name": "hk-means"}},
        "rq-kmeans": {"name": "mmgrec", "quantizer": {"name": "rq-kmeans"}},
        "random token": {"name": "mmgrec", "collisions": {"name": "random"}},
    },
}

_POSITIONS: Table = {
    "title": "what the encoder knows of places and relations (Table 5)",
    "models": {
        "mmgrec": {"name": "mmgrec", "position": {"name": "relation-aware"}},
        "w/o PE": {"name": "mmgrec", "position": {"name": "none"}},
        "default PE": {"name": "mmgrec", "position": {"name": "sinusoidal"}},
        "vector gain": {"name": "mmgrec", "position": {"name": "relation-aware", "gain": "vector"}},
    },
}

_ABLATIONS: Table = {
    "title": "Tables 3 to 5 together: rows that differ behind stage 1 share it",
    "models": {**_POSITIONS["models"], **_ASSIGNMENT["models"], **_REPRESENTATIONS["models"]}
    | {"mmgrec": {"name": "mmgrec"}},
}

_PAPER_ABLATIONS: Table = {
    "title": "Tables 3 to 5 with the paper's own choices (preset paper)",
    "models": {label: {**row, "preset": "paper"} for label, row in _ABLATIONS["models"].items()},
}

_LAYERS: Table = {
    "title": "layers and heads of the Transformer (Fig. 4)",
    "models": {
        f"{_counted(layers, 'layer')} of {_counted(heads, 'head')}": {
            "name": "mmgrec",
            "network": {"num_encoder_layers": layers, "num_decoder_layers": layers, "num_heads": heads},
        }
        for layers in (1, 2, 3, 4)
        for heads in (1, 2, 4, 8)
    }
    | {
        f"lightgt of {_counted(layers, 'layer')}": {
            "name": "lightgt",
            "losses": ["softmax"],
            "num_encoder_layers": layers,
        }
        for layers in (1, 2, 3, 4)
    },
    "against": "1 layer of 4 heads",
}

_PUBLISHED: Table = {
    "title": "the paper, and each departure of the authors' released code from it, alone and together",
    "models": {
        "paper": {"name": "mmgrec", "preset": "paper"},
        **{name: {"name": "mmgrec", "preset": "paper", **sections} for name, sections in DEPARTURES.items()},
        "published-code": {"name": "mmgrec", "preset": "published-code"},
    },
}

#: Steps from the preset `paper` to the preset `recipe`; each takes what it names beside what the earlier ones took.
_STEPS: Mapping[str, tuple[str, ...]] = {
    "two stages": ("quantizer.schedule", "quantizer.autoencoder"),
    "light graph": (
        "quantizer.graph.convolution", "quantizer.graph.fuse_features", "quantizer.graph.dim",
        "quantizer.graph.regularization",
    ),
    "two losses joined": ("quantizer.graph.losses",),
    "item graphs": ("quantizer", "collisions"),
    "tree head": ("network.head",),
    "teacher": ("training.targets", "network.user_input"),
    "second moments": ("network.moment_axes",),
    "shape and schedule": ("network", "training", "position"),
    "item memory": ("memory", "weighing"),
}  # fmt: skip

_LADDER: Table = {
    "title": "from the paper's choices to the recipe, one step after the other",
    "models": {
        "paper": {"name": "mmgrec", "preset": "paper"},
        "paper with memory": {"name": "mmgrec", "preset": "paper", **_MEMORY},
        **{
            f"+ {name}{label}": {
                "name": "mmgrec",
                "between": ["paper", "recipe"],
                "taken": [setting for settings in list(_STEPS.values())[:number] for setting in settings],
                **memory,
            }
            for number, name in enumerate(_STEPS, start=1)
            for label, memory in (("", {}), (" with memory", _MEMORY))
            if not (memory and name in ("shape and schedule", "item memory"))  # the last step is the one with it
        },
        "recipe": {"name": "mmgrec", "preset": "recipe"},
    },
    "against": "recipe",
}

_SIZE: Table = {
    "title": "time for each user against the size of the catalogue (Fig. 5); hardly trained, since only times count",
    "shares": [0.125, 0.25, 0.5, 1.0],
    "models": {
        "mmgrec": {
            "name": "mmgrec",
            "quantizer": {"graph": {"epochs": 5}, "autoencoder": {"epochs": 5}},
            "training": {"epochs": 1},
        },
        "mf": {"name": "mf", "dim": [64], "regularization": [1e-2], "epochs": 5},
    },
}

#: name -> definition, see `mmgrec.studies.study.Study.of`
STUDIES: Mapping[str, Table] = {
    "overall": _OVERALL,
    "representations": _REPRESENTATIONS,
    "assignment": _ASSIGNMENT,
    "positions": _POSITIONS,
    "ablations": _ABLATIONS,
    "ablations-paper": _PAPER_ABLATIONS,
    "layers-heads": _LAYERS,
    "catalogue-size": _SIZE,
    "published-code": _PUBLISHED,
    "ladder": _LADDER,
}
