"""One experiment: its value, carrying it out, its folder, reading it back."""

from typing import TYPE_CHECKING

from mmgrec._lazy import hand_out

if TYPE_CHECKING:  # "as" says that the name is handed out
    from mmgrec.runs.beside import beside_of as beside_of
    from mmgrec.runs.comparison import Comparison as Comparison
    from mmgrec.runs.comparison import compare as compare
    from mmgrec.runs.execution import RunOutcome as RunOutcome
    from mmgrec.runs.execution import execute as execute
    from mmgrec.runs.experiment import METRICS as METRICS
    from mmgrec.runs.experiment import PARTS as PARTS
    from mmgrec.runs.experiment import SECTIONS as SECTIONS
    from mmgrec.runs.experiment import VALUES as VALUES
    from mmgrec.runs.experiment import Experiment as Experiment
    from mmgrec.runs.experiment import Model as Model
    from mmgrec.runs.files import user_parquet as user_parquet
    from mmgrec.runs.fitting import Judge as Judge
    from mmgrec.runs.fitting import fit_recommender as fit_recommender
    from mmgrec.runs.folder import RunFolder as RunFolder
    from mmgrec.runs.folder import identity as identity
    from mmgrec.runs.layout import INSIGHT as INSIGHT
    from mmgrec.runs.layout import LOG as LOG
    from mmgrec.runs.layout import PER_USER as PER_USER
    from mmgrec.runs.layout import REPORT as REPORT
    from mmgrec.runs.layout import RESULTS as RESULTS
    from mmgrec.runs.layout import recorded_versions as recorded_versions
    from mmgrec.runs.layout import slug as slug
    from mmgrec.runs.log import LogTee as LogTee
    from mmgrec.runs.log import last_stages as last_stages
    from mmgrec.runs.log import seconds_of as seconds_of
    from mmgrec.runs.memory import clear_peak as clear_peak
    from mmgrec.runs.memory import peak_mib as peak_mib
    from mmgrec.runs.page import put_page as put_page
    from mmgrec.runs.page_facts import run_facts as run_facts
    from mmgrec.runs.presets import DEPARTURES as DEPARTURES
    from mmgrec.runs.presets import PRESETS as PRESETS
    from mmgrec.runs.results import DataFacts as DataFacts
    from mmgrec.runs.results import environment as environment
    from mmgrec.runs.results import now as now
    from mmgrec.runs.stored import Run as Run
    from mmgrec.runs.stored import StoredRun as StoredRun
    from mmgrec.runs.stored import open_run as open_run
else:
    __all__, __getattr__, __dir__ = hand_out(
        __name__,
        {
            "beside": ["beside_of"],
            "comparison": ["Comparison", "compare"],
            "execution": ["RunOutcome", "execute"],
            "experiment": ["Experiment", "METRICS", "Model", "PARTS", "SECTIONS", "VALUES"],
            "files": ["user_parquet"],
            "fitting": ["Judge", "fit_recommender"],
            "folder": ["RunFolder", "identity"],
            "layout": ["INSIGHT", "LOG", "PER_USER", "REPORT", "RESULTS", "recorded_versions", "slug"],
            "log": ["LogTee", "last_stages", "seconds_of"],
            "memory": ["clear_peak", "peak_mib"],
            "page": ["put_page"],
            "page_facts": ["run_facts"],
            "presets": ["DEPARTURES", "PRESETS"],
            "results": ["DataFacts", "environment", "now"],
            "stored": ["Run", "StoredRun", "open_run"],
        },
    )
