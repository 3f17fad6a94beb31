"""The Transformer that writes Rec-IDs: network, heads, training task, search on a GPU, re-ranking."""

from typing import TYPE_CHECKING

from mmgrec._lazy import hand_out

if TYPE_CHECKING:  # "as" says that the name is handed out
    from mmgrec.generator.heads import TokensHead as TokensHead
    from mmgrec.generator.heads import principal_axes as principal_axes
    from mmgrec.generator.history import fixed_history as fixed_history
    from mmgrec.generator.item_memory import local_ridge_weights as local_ridge_weights
    from mmgrec.generator.item_memory import unit_features as unit_features
    from mmgrec.generator.item_weights import common_users as common_users
    from mmgrec.generator.item_weights import ease_weights as ease_weights
    from mmgrec.generator.item_weights import hollow_ridge as hollow_ridge
    from mmgrec.generator.item_weights import user_item as user_item
    from mmgrec.generator.layers import DecoderLayer as DecoderLayer
    from mmgrec.generator.layers import EncoderLayer as EncoderLayer
    from mmgrec.generator.layers import NetworkSettings as NetworkSettings
    from mmgrec.generator.layers import sinusoidal_positions as sinusoidal_positions
    from mmgrec.generator.network import Memory as Memory
    from mmgrec.generator.network import Network as Network
    from mmgrec.generator.recording import Question as Question
    from mmgrec.generator.recording import RecordedSearch as RecordedSearch
    from mmgrec.generator.recording import generate as generate
    from mmgrec.generator.recording import record_cuda_graph as record_cuda_graph
    from mmgrec.generator.reranking import Reranker as Reranker
    from mmgrec.generator.reranking import Rescoring as Rescoring
    from mmgrec.generator.task import GeneratorTask as GeneratorTask
    from mmgrec.generator.task import GeneratorTraining as GeneratorTraining
else:
    __all__, __getattr__, __dir__ = hand_out(
        __name__,
        {
            "heads": ["TokensHead", "principal_axes"],
            "history": ["fixed_history"],
            "item_memory": ["local_ridge_weights", "unit_features"],
            "item_weights": ["common_users", "ease_weights", "hollow_ridge", "user_item"],
            "layers": ["DecoderLayer", "EncoderLayer", "NetworkSettings", "sinusoidal_positions"],
            "network": ["Memory", "Network"],
            "recording": ["Question", "RecordedSearch", "generate", "record_cuda_graph"],
            "reranking": ["Reranker", "Rescoring"],
            "task": ["GeneratorTask", "GeneratorTraining"],
        },
    )
