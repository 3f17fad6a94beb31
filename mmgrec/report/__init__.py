"""Facts in, one HTML page out; reads no folder."""

from typing import TYPE_CHECKING

from mmgrec._lazy import hand_out

if TYPE_CHECKING:  # "as" says that the name is handed out
    from mmgrec.report.facts import DatasetSection as DatasetSection
    from mmgrec.report.facts import ModelRow as ModelRow
    from mmgrec.report.facts import PageFacts as PageFacts
    from mmgrec.report.facts import TrainingStage as TrainingStage
    from mmgrec.report.facts import TuningFacts as TuningFacts
    from mmgrec.report.facts import measurements as measurements
    from mmgrec.report.facts import milliseconds_each as milliseconds_each
    from mmgrec.report.html import page_html as page_html
else:
    __all__, __getattr__, __dir__ = hand_out(
        __name__,
        {
            "facts": [
                "DatasetSection",
                "ModelRow",
                "PageFacts",
                "TrainingStage",
                "TuningFacts",
                "measurements",
                "milliseconds_each",
            ],
            "html": ["page_html"],
        },
    )
