"""The one training loop: batches, stopping, checkpoints, randomness."""

from typing import TYPE_CHECKING

from mmgrec._lazy import hand_out

if TYPE_CHECKING:  # "as" says that the name is handed out
    from mmgrec.training.calibration import calibrated as calibrated
    from mmgrec.training.calibration import likeliest_factor as likeliest_factor
    from mmgrec.training.calibration import score_deviation as score_deviation
    from mmgrec.training.checkpoints import CheckpointFolder as CheckpointFolder
    from mmgrec.training.folding import FoldIn as FoldIn
    from mmgrec.training.folding import fold_in as fold_in
    from mmgrec.training.loop import Task as Task
    from mmgrec.training.loop import Training as Training
    from mmgrec.training.loop import TrainingSettings as TrainingSettings
    from mmgrec.training.loop import train as train
    from mmgrec.training.randomness import seeded as seeded
    from mmgrec.training.validation import ValidationRecall as ValidationRecall
else:
    __all__, __getattr__, __dir__ = hand_out(
        __name__,
        {
            "calibration": ["calibrated", "likeliest_factor", "score_deviation"],
            "checkpoints": ["CheckpointFolder"],
            "folding": ["FoldIn", "fold_in"],
            "loop": ["Task", "Training", "TrainingSettings", "train"],
            "randomness": ["seeded"],
            "validation": ["ValidationRecall"],
        },
    )
