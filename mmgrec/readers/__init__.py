"""Other people's files, into a data folder."""

from typing import TYPE_CHECKING

from mmgrec._lazy import hand_out

if TYPE_CHECKING:  # "as" says that the name is handed out
    from mmgrec.readers.columns import interactions as interactions
    from mmgrec.readers.columns import item_texts as item_texts
    from mmgrec.readers.extras import keyed as keyed
    from mmgrec.readers.extras import plain_array as plain_array
    from mmgrec.readers.importing import Extras as Extras
    from mmgrec.readers.importing import import_data as import_data
    from mmgrec.readers.importing import source_of as source_of
    from mmgrec.readers.layout import layout_of as layout_of
    from mmgrec.readers.layout import nameless_roles as nameless_roles
    from mmgrec.readers.raw import ItemTable as ItemTable
    from mmgrec.readers.raw import RawTables as RawTables
    from mmgrec.readers.source import ColumnSource as ColumnSource
    from mmgrec.readers.source import FileSource as FileSource
else:
    __all__, __getattr__, __dir__ = hand_out(
        __name__,
        {
            "columns": ["interactions", "item_texts"],
            "extras": ["keyed", "plain_array"],
            "importing": ["Extras", "import_data", "source_of"],
            "layout": ["layout_of", "nameless_roles"],
            "raw": ["ItemTable", "RawTables"],
            "source": ["ColumnSource", "FileSource"],
        },
    )
