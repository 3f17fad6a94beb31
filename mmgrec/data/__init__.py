"""What a data set is: interactions in three parts, features, graphs, and how they are split."""

from typing import TYPE_CHECKING

from mmgrec._lazy import hand_out

if TYPE_CHECKING:  # "as" says that the name is handed out
    from mmgrec.data.dataset import Bag as Bag
    from mmgrec.data.dataset import Dataset as Dataset
    from mmgrec.data.dataset import Interactions as Interactions
    from mmgrec.data.splits import PARTS as PARTS
    from mmgrec.data.splits import TEST as TEST
    from mmgrec.data.splits import TRAIN as TRAIN
    from mmgrec.data.splits import VALID as VALID
    from mmgrec.data.splits import k_core as k_core
    from mmgrec.data.splits import leave_one_out_split as leave_one_out_split
    from mmgrec.data.splits import random_split as random_split
    from mmgrec.data.splits import rank_within_user as rank_within_user
    from mmgrec.data.splits import temporal_split as temporal_split
else:
    __all__, __getattr__, __dir__ = hand_out(
        __name__,
        {
            "dataset": ["Bag", "Dataset", "Interactions"],
            "splits": [
                "PARTS",
                "TEST",
                "TRAIN",
                "VALID",
                "k_core",
                "leave_one_out_split",
                "random_split",
                "rank_within_user",
                "temporal_split",
            ],
        },
    )
