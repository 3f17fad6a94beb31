"""What plugins return, held against the interfaces; whose fault an error is."""

from typing import TYPE_CHECKING

from mmgrec._lazy import hand_out

if TYPE_CHECKING:  # "as" says that the name is handed out
    from mmgrec.guards.attribution import contained as contained
    from mmgrec.guards.attribution import in_one_line as in_one_line
    from mmgrec.guards.attribution import third_parties as third_parties
    from mmgrec.guards.attribution import third_party as third_party
    from mmgrec.guards.repeatable import check_same_rec_ids as check_same_rec_ids
    from mmgrec.guards.repeatable import list_warnings as list_warnings
    from mmgrec.guards.returned import checked_data as checked_data
    from mmgrec.guards.returned import checked_decoded as checked_decoded
    from mmgrec.guards.returned import checked_definition as checked_definition
    from mmgrec.guards.returned import checked_fitted as checked_fitted
    from mmgrec.guards.returned import checked_lists as checked_lists
    from mmgrec.guards.returned import checked_measure as checked_measure
    from mmgrec.guards.returned import checked_position as checked_position
    from mmgrec.guards.returned import checked_quantization as checked_quantization
    from mmgrec.guards.returned import checked_rec_ids as checked_rec_ids
    from mmgrec.guards.returned import checked_weights as checked_weights
else:
    __all__, __getattr__, __dir__ = hand_out(
        __name__,
        {
            "attribution": ["contained", "in_one_line", "third_parties", "third_party"],
            "repeatable": ["check_same_rec_ids", "list_warnings"],
            "returned": [
                "checked_data",
                "checked_decoded",
                "checked_definition",
                "checked_fitted",
                "checked_lists",
                "checked_measure",
                "checked_position",
                "checked_quantization",
                "checked_rec_ids",
                "checked_weights",
            ],
        },
    )
