"""What a fitted model does with its items and users, as figures; its gap to exact search."""

from typing import TYPE_CHECKING

from mmgrec._lazy import hand_out

if TYPE_CHECKING:  # "as" says that the name is handed out
    from mmgrec.insight.bins import short as short
    from mmgrec.insight.exact_gap import recall_of_exact as recall_of_exact
    from mmgrec.insight.facts import insight as insight
    from mmgrec.insight.one_user import TellsRelations as TellsRelations
else:
    __all__, __getattr__, __dir__ = hand_out(
        __name__,
        {
            "bins": ["short"],
            "exact_gap": ["recall_of_exact"],
            "facts": ["insight"],
            "one_user": ["TellsRelations"],
        },
    )
