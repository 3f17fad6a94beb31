"""mmgrec: generative recommendation over multimodal items.

Every item gets a short unique tuple of tokens (its Rec-ID); a Transformer writes the Rec-IDs of what a user will like.
Importing this package is instant: names are looked up on first use, and torch comes with them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Codes": "mmgrec.recid",
    "CollisionResolver": "mmgrec.interfaces",
    "Context": "mmgrec.interfaces",
    "Dataset": "mmgrec.data",
    "DatasetSource": "mmgrec.interfaces",
    "Decoder": "mmgrec.interfaces",
    "FittedRecommender": "mmgrec.interfaces",
    "Interactions": "mmgrec.data",
    "MMGRec": "mmgrec.recommender",
    "Metric": "mmgrec.interfaces",
    "PositionalScheme": "mmgrec.interfaces",
    "Quantization": "mmgrec.interfaces",
    "Quantizer": "mmgrec.interfaces",
    "RecIDTable": "mmgrec.recid",
    "Recommendations": "mmgrec.interfaces",
    "Recommender": "mmgrec.interfaces",
    "Representations": "mmgrec.interfaces",
    "Trie": "mmgrec.recid",
    "UserError": "mmgrec.errors",
    "evaluate": "mmgrec.evaluation",
    "hookimpl": "mmgrec.hookspecs",
}

__all__ = ["__version__", *sorted(_HOME)]

if TYPE_CHECKING:
    from mmgrec.data import Dataset, Interactions
    from mmgrec.errors import UserError
    from mmgrec.evaluation import evaluate
    from mmgrec.hookspecs import hookimpl
    from mmgrec.interfaces import (
        CollisionResolver,
        Context,
        DatasetSource,
        Decoder,
        FittedRecommender,
        Metric,
        PositionalScheme,
        Quantization,
        Quantizer,
        Recommendations,
        Recommender,
        Representations,
    )
    from mmgrec.recid import Codes, RecIDTable, Trie
    from mmgrec.recommender import MMGRec


def __getattr__(name: str) -> Any:  # Any: a module attribute can be anything
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'mmgrec' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
