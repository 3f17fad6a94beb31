"""Many cells: a study's value, plan, workers, cache of shared results, tables."""

from typing import TYPE_CHECKING

from mmgrec._lazy import hand_out

if TYPE_CHECKING:  # "as" says that the name is handed out
    from mmgrec.studies.built_in import STUDIES as STUDIES
    from mmgrec.studies.page import rewrite_page as rewrite_page
    from mmgrec.studies.plan import CellJob as CellJob
    from mmgrec.studies.results import StudyResults as StudyResults
    from mmgrec.studies.runner import StudyObserver as StudyObserver
    from mmgrec.studies.runner import plan_study as plan_study
    from mmgrec.studies.runner import run_study as run_study
    from mmgrec.studies.study import Study as Study
    from mmgrec.studies.tables import table_rows as table_rows
    from mmgrec.studies.values import COMMON as COMMON
else:
    __all__, __getattr__, __dir__ = hand_out(
        __name__,
        {
            "built_in": ["STUDIES"],
            "page": ["rewrite_page"],
            "plan": ["CellJob"],
            "results": ["StudyResults"],
            "runner": ["StudyObserver", "plan_study", "run_study"],
            "study": ["Study"],
            "tables": ["table_rows"],
            "values": ["COMMON"],
        },
    )
