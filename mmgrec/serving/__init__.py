"""A fitted model that answers: ids, batches of users, files."""

from typing import TYPE_CHECKING

from mmgrec._lazy import hand_out

if TYPE_CHECKING:  # "as" says that the name is handed out
    from mmgrec.serving.answers import recommend as recommend
    from mmgrec.serving.answers import rows_of as rows_of
    from mmgrec.serving.files import Format as Format
    from mmgrec.serving.files import Shards as Shards
    from mmgrec.serving.files import format_of as format_of
    from mmgrec.serving.files import write as write
    from mmgrec.serving.ids import allowed_items as allowed_items
    from mmgrec.serving.ids import item_number as item_number
    from mmgrec.serving.ids import read_ids as read_ids
    from mmgrec.serving.ids import user_number as user_number
    from mmgrec.serving.ids import user_numbers as user_numbers
    from mmgrec.serving.session import Question as Question
    from mmgrec.serving.session import Session as Session
else:
    __all__, __getattr__, __dir__ = hand_out(
        __name__,
        {
            "answers": ["recommend", "rows_of"],
            "files": ["Format", "Shards", "format_of", "write"],
            "ids": ["allowed_items", "item_number", "read_ids", "user_number", "user_numbers"],
            "session": ["Question", "Session"],
        },
    )
