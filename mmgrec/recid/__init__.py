"""Codes, Rec-IDs, the trie of those that exist, and how healthy they are."""

from typing import TYPE_CHECKING

from mmgrec._lazy import hand_out

if TYPE_CHECKING:  # "as" says that the name is handed out
    from mmgrec.recid.health import Health as Health
    from mmgrec.recid.health import health_report as health_report
    from mmgrec.recid.table import Codes as Codes
    from mmgrec.recid.table import RecIDTable as RecIDTable
    from mmgrec.recid.trie import Trie as Trie
else:
    __all__, __getattr__, __dir__ = hand_out(
        __name__,
        {
            "health": ["Health", "health_report"],
            "table": ["Codes", "RecIDTable"],
            "trie": ["Trie"],
        },
    )
