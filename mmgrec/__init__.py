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
    "ItemMemory": "mmgrec.interfaces",
    "ItemWeights": "mmgrec.interfaces",
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
    "rank_items": "mmgrec.ranking",
}

__all__ = ["__version__", *sorted(_HOME)]

if TYPE_CHECKING:  # "as" says that the name is exported
    from mmgrec.data import Dataset as Dataset
    from mmgrec.data import Interactions as Interactions
    from mmgrec.errors import UserError as UserError
    from mmgrec.evaluation import evaluate as evaluate
    from mmgrec.hookspecs import hookimpl as hookimpl
    from mmgrec.interfaces import CollisionResolver as CollisionResolver
    from mmgrec.interfaces import Context as Context
    from mmgrec.interfaces import DatasetSource as DatasetSource
    from mmgrec.interfaces import Decoder as Decoder
    from mmgrec.interfaces import FittedRecommender as FittedRecommender
    from mmgrec.interfaces import ItemMemory as ItemMemory
    from mmgrec.interfaces import ItemWeights as ItemWeights
    from mmgrec.interfaces import Metric as Metric
    from mmgrec.interfaces import PositionalScheme as PositionalScheme
    from mmgrec.interfaces import Quantization as Quantization
    from mmgrec.interfaces import Quantizer as Quantizer
    from mmgrec.interfaces import Recommendations as Recommendations
    from mmgrec.interfaces import Recommender as Recommender
    from mmgrec.interfaces import Representations as Representations
    from mmgrec.ranking import rank_items as rank_items
    from mmgrec.recid import Codes as Codes
    from mmgrec.recid import RecIDTable as RecIDTable
    from mmgrec.recid import Trie as Trie
    from mmgrec.recommender import MMGRec as MMGRec
    from mmgrec.runs import open_run as open  # noqa: F401


def __getattr__(name: str) -> Any:  # Any: a module attribute can be anything
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name == "open":  # not in __all__: whoever imports everything keeps their own open
        return import_module("mmgrec.runs").open_run
    raise AttributeError(f"module 'mmgrec' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
