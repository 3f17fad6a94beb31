"""Ranking held against the truth: masks, metrics, reports, paired tests, best and second best."""

from typing import TYPE_CHECKING

from mmgrec._lazy import hand_out

if TYPE_CHECKING:  # "as" says that the name is handed out
    from mmgrec.evaluation.harness import evaluate as evaluate
    from mmgrec.evaluation.harness import find_defects as find_defects
    from mmgrec.evaluation.metrics import contains as contains
    from mmgrec.evaluation.metrics import judge as judge
    from mmgrec.evaluation.metrics import ndcg as ndcg
    from mmgrec.evaluation.metrics import recall as recall
    from mmgrec.evaluation.protocol import KNOWN as KNOWN
    from mmgrec.evaluation.protocol import MASKS as MASKS
    from mmgrec.evaluation.protocol import SPLITS as SPLITS
    from mmgrec.evaluation.protocol import Known as Known
    from mmgrec.evaluation.protocol import Mask as Mask
    from mmgrec.evaluation.protocol import Split as Split
    from mmgrec.evaluation.protocol import known as known
    from mmgrec.evaluation.protocol import masked as masked
    from mmgrec.evaluation.report import Defects as Defects
    from mmgrec.evaluation.report import Report as Report
    from mmgrec.evaluation.significance import PairedTest as PairedTest
    from mmgrec.evaluation.significance import holm as holm
    from mmgrec.evaluation.significance import paired_test as paired_test
    from mmgrec.evaluation.summary import Spread as Spread
    from mmgrec.evaluation.summary import best_places as best_places
    from mmgrec.evaluation.summary import main_metrics as main_metrics
    from mmgrec.evaluation.summary import ranks as ranks
else:
    __all__, __getattr__, __dir__ = hand_out(
        __name__,
        {
            "harness": ["evaluate", "find_defects"],
            "metrics": ["contains", "judge", "ndcg", "recall"],
            "protocol": ["KNOWN", "Known", "MASKS", "Mask", "SPLITS", "Split", "known", "masked"],
            "report": ["Defects", "Report"],
            "significance": ["PairedTest", "holm", "paired_test"],
            "summary": ["Spread", "best_places", "main_metrics", "ranks"],
        },
    )
