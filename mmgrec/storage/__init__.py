"""Files that are whole or not there: atomic writes, sealed folders, locks, JSON."""

from typing import TYPE_CHECKING

from mmgrec._lazy import hand_out

if TYPE_CHECKING:  # "as" says that the name is handed out
    from mmgrec.storage.atomic import is_leftover as is_leftover
    from mmgrec.storage.atomic import sha256_of as sha256_of
    from mmgrec.storage.atomic import sweep as sweep
    from mmgrec.storage.atomic import write_atomically as write_atomically
    from mmgrec.storage.json import Json as Json
    from mmgrec.storage.json import json_bytes as json_bytes
    from mmgrec.storage.json import json_if_there as json_if_there
    from mmgrec.storage.json import read_json as read_json
    from mmgrec.storage.locks import alone as alone
    from mmgrec.storage.locks import lock as lock
    from mmgrec.storage.records import read_record as read_record
    from mmgrec.storage.records import record_json as record_json
    from mmgrec.storage.records import record_of as record_of
    from mmgrec.storage.sealed import LOCK as LOCK
    from mmgrec.storage.sealed import MANIFEST as MANIFEST
    from mmgrec.storage.sealed import SealedFolder as SealedFolder
    from mmgrec.storage.tensors import Meta as Meta
    from mmgrec.storage.tensors import Tensors as Tensors
    from mmgrec.storage.tensors import load_folder as load_folder
    from mmgrec.storage.tensors import save_folder as save_folder
    from mmgrec.storage.tensors import tensor_bytes as tensor_bytes
else:
    __all__, __getattr__, __dir__ = hand_out(
        __name__,
        {
            "atomic": ["is_leftover", "sha256_of", "sweep", "write_atomically"],
            "json": ["Json", "json_bytes", "json_if_there", "read_json"],
            "locks": ["alone", "lock"],
            "records": ["read_record", "record_json", "record_of"],
            "sealed": ["LOCK", "MANIFEST", "SealedFolder"],
            "tensors": ["Meta", "Tensors", "load_folder", "save_folder", "tensor_bytes"],
        },
    )
