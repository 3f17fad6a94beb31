"""Plain values to dataclasses and back: TOML, ``--set``, checks, descriptions."""

from typing import TYPE_CHECKING

from mmgrec._lazy import hand_out

if TYPE_CHECKING:  # "as" says that the name is handed out
    from mmgrec.settings.builder import build as build
    from mmgrec.settings.comparison import Values as Values
    from mmgrec.settings.comparison import comparable as comparable
    from mmgrec.settings.comparison import differences as differences
    from mmgrec.settings.comparison import first_differences as first_differences
    from mmgrec.settings.comparison import shortened as shortened
    from mmgrec.settings.descriptions import Setting as Setting
    from mmgrec.settings.descriptions import describe as describe
    from mmgrec.settings.values import Settings as Settings
    from mmgrec.settings.values import apply_sets as apply_sets
    from mmgrec.settings.values import flat as flat
    from mmgrec.settings.values import merge as merge
    from mmgrec.settings.values import nested as nested
    from mmgrec.settings.values import plain as plain
    from mmgrec.settings.values import read_toml as read_toml
    from mmgrec.settings.values import toml_text as toml_text
else:
    __all__, __getattr__, __dir__ = hand_out(
        __name__,
        {
            "builder": ["build"],
            "comparison": ["Values", "comparable", "differences", "first_differences", "shortened"],
            "descriptions": ["Setting", "describe"],
            "values": ["Settings", "apply_sets", "flat", "merge", "nested", "plain", "read_toml", "toml_text"],
        },
    )
