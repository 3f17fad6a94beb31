"""Item memories: which items of a history speak for which others. Values and closed forms; plugins choose settings."""

from typing import TYPE_CHECKING

from mmgrec._lazy import hand_out

if TYPE_CHECKING:  # "as" says that the name is handed out
    from mmgrec.memory.closed_form import common_users as common_users
    from mmgrec.memory.closed_form import ease_weights as ease_weights
    from mmgrec.memory.closed_form import hollow_ridge as hollow_ridge
    from mmgrec.memory.features import item_features as item_features
    from mmgrec.memory.features import unit_features as unit_features
    from mmgrec.memory.incidence import user_item as user_item
    from mmgrec.memory.neighbours import Gram as Gram
    from mmgrec.memory.ridge import ridge_weights as ridge_weights
    from mmgrec.memory.weights import ItemScores as ItemScores
    from mmgrec.memory.weights import ItemWeights as ItemWeights
else:
    __all__, __getattr__, __dir__ = hand_out(
        __name__,
        {
            "closed_form": ["common_users", "ease_weights", "hollow_ridge"],
            "features": ["item_features", "unit_features"],
            "incidence": ["user_item"],
            "neighbours": ["Gram"],
            "ridge": ["ridge_weights"],
            "weights": ["ItemScores", "ItemWeights"],
        },
    )
