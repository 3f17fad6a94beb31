"""The one training loop: batches, stopping, checkpoints, randomness."""

from typing import TYPE_CHECKING

from mmgrec._lazy import hand_out

if TYPE_CHECKING:  # "as" says that the name is handed out
    from mmgrec.training.checkpoints import CheckpointFolder as CheckpointFolder
    from mmgrec.training.loop import Task as Task
    from mmgrec.training.loop import TrainingSettings as TrainingSettings
    from mmgrec.training.loop import train as train
    from mmgrec.training.randomness import seeded as seeded
    from mmgrec.training.validation import ValidationRecall as ValidationRecall
else:
    __all__, __getattr__, __dir__ = hand_out(
        __name__,
        {
            "checkpoints": ["CheckpointFolder"],
            "loop": ["Task", "TrainingSettings", "train"],
            "randomness": ["seeded"],
            "validation": ["ValidationRecall"],
        },
    )
