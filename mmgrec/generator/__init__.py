"""The Transformer that writes Rec-IDs: network, heads, training task, search on a GPU, re-ranking."""

from typing import TYPE_CHECKING

from mmgrec._lazy import hand_out

if TYPE_CHECKING:  # "as" says that the name is handed out
    from mmgrec.generator.heads import TokensHead as TokensHead
    from mmgrec.generator.heads import principal_axes as principal_axes
    from mmgrec.generator.history import fixed_history as fixed_history
    from mmgrec.generator.layers import DecoderLayer as DecoderLayer
    from mmgrec.generator.layers import EncoderLayer as EncoderLayer
    from mmgrec.generator.layers import NetworkSettings as NetworkSettings
    from mmgrec.generator.layers import sinusoidal_positions as sinusoidal_positions
    from mmgrec.generator.network import Encoded as Encoded
    from mmgrec.generator.network import Network as Network
    from mmgrec.generator.recording import Question as Question
    from mmgrec.generator.recording import RecordedSearch as RecordedSearch
    from mmgrec.generator.recording import generate as generate
    from mmgrec.generator.recording import record_cuda_graph as record_cuda_graph
    from mmgrec.generator.reranking import reranked as reranked
    from mmgrec.generator.task import GeneratorTask as GeneratorTask
    from mmgrec.generator.task import GeneratorTraining as GeneratorTraining
    from mmgrec.generator.weighing import Weighing as Weighing
else:
    __all__, __getattr__, __dir__ = hand_out(
        __name__,
        {
            "heads": ["TokensHead", "principal_axes"],
            "history": ["fixed_history"],
            "layers": ["DecoderLayer", "EncoderLayer", "NetworkSettings", "sinusoidal_positions"],
            "network": ["Encoded", "Network"],
            "recording": ["Question", "RecordedSearch", "generate", "record_cuda_graph"],
            "reranking": ["reranked"],
            "task": ["GeneratorTask", "GeneratorTraining"],
            "weighing": ["Weighing"],
        },
    )
