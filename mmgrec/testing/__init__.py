"""Contract tests that a plugin's author inherits, one class a kind, and small data with known answers.

Inherit from a contract, say how to make your part, and let pytest do the rest::

    class TestContract(QuantizerContract):
        def make(self) -> Quantizer:
            return HashQuantizer(codebook_size=8)

Pytest is needed for collection alone: failures are plain assertions that say what was expected.
"""

from mmgrec.synthetic import checkerboard, tours
from mmgrec.testing.learning import (
    CollisionContract,
    ItemMemoryContract,
    PartContract,
    PositionContract,
    QuantizerContract,
)
from mmgrec.testing.ranking import DatasetContract, DecoderContract, MetricContract, RecommenderContract
from mmgrec.testing.values import TableStepper, eight_items, same, table_stepper, tiny_data, without_test

__all__ = [
    "CollisionContract",
    "DatasetContract",
    "DecoderContract",
    "ItemMemoryContract",
    "MetricContract",
    "PartContract",
    "PositionContract",
    "QuantizerContract",
    "RecommenderContract",
    "TableStepper",
    "checkerboard",
    "eight_items",
    "same",
    "table_stepper",
    "tiny_data",
    "tours",
    "without_test",
]
