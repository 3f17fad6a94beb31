"""The data folder on disk: read, checked, written, given features."""

from typing import TYPE_CHECKING

from mmgrec._lazy import hand_out

if TYPE_CHECKING:  # "as" says that the name is handed out
    from mmgrec.folder.check import check_folder as check_folder
    from mmgrec.folder.contents import CONVERT as CONVERT
    from mmgrec.folder.contents import INTERACTIONS as INTERACTIONS
    from mmgrec.folder.contents import PICKLED as PICKLED
    from mmgrec.folder.contents import Array as Array
    from mmgrec.folder.contents import BagTable as BagTable
    from mmgrec.folder.contents import FolderContents as FolderContents
    from mmgrec.folder.contents import such as such
    from mmgrec.folder.features import METHODS as METHODS
    from mmgrec.folder.features import add_features as add_features
    from mmgrec.folder.load import SplitRule as SplitRule
    from mmgrec.folder.load import SplitSettings as SplitSettings
    from mmgrec.folder.load import contents_of as contents_of
    from mmgrec.folder.load import dataset_of as dataset_of
    from mmgrec.folder.load import load_folder as load_folder
    from mmgrec.folder.write import free as free
    from mmgrec.folder.write import save_folder as save_folder
    from mmgrec.folder.write import write_contents as write_contents
else:
    __all__, __getattr__, __dir__ = hand_out(
        __name__,
        {
            "check": ["check_folder"],
            "contents": ["Array", "BagTable", "CONVERT", "FolderContents", "INTERACTIONS", "PICKLED", "such"],
            "features": ["METHODS", "add_features"],
            "load": ["SplitRule", "SplitSettings", "contents_of", "dataset_of", "load_folder"],
            "write": ["free", "save_folder", "write_contents"],
        },
    )
