"""What a fitted model does with its items and users, as figures; why it recommends an item; its gap to exact search."""

from typing import TYPE_CHECKING

from mmgrec._lazy import hand_out

if TYPE_CHECKING:  # "as" says that the name is handed out
    from mmgrec.insight.bins import short as short
    from mmgrec.insight.exact_gap import recall_of_exact as recall_of_exact
    from mmgrec.insight.explanation import ExplainedItem as ExplainedItem
    from mmgrec.insight.explanation import Explanation as Explanation
    from mmgrec.insight.explanation import explain as explain
    from mmgrec.insight.facts import insight as insight
    from mmgrec.insight.facts import num_parameters as num_parameters
    from mmgrec.insight.user_values import MemoryPart as MemoryPart
    from mmgrec.insight.user_values import NamedItem as NamedItem
    from mmgrec.insight.user_values import OneUser as OneUser
    from mmgrec.insight.user_values import PathLevel as PathLevel
    from mmgrec.insight.user_values import RelationMap as RelationMap
    from mmgrec.insight.user_values import TokenChoice as TokenChoice
    from mmgrec.insight.user_values import Voice as Voice
    from mmgrec.insight.values import CodewordUse as CodewordUse
    from mmgrec.insight.values import CountRange as CountRange
    from mmgrec.insight.values import GeneratorInsight as GeneratorInsight
    from mmgrec.insight.values import GroupAccuracy as GroupAccuracy
    from mmgrec.insight.values import LayerGains as LayerGains
    from mmgrec.insight.values import MemoryInsight as MemoryInsight
    from mmgrec.insight.values import ModelInsight as ModelInsight
    from mmgrec.insight.values import PrefixLevel as PrefixLevel
else:
    __all__, __getattr__, __dir__ = hand_out(
        __name__,
        {
            "bins": ["short"],
            "exact_gap": ["recall_of_exact"],
            "explanation": ["ExplainedItem", "Explanation", "explain"],
            "facts": ["insight", "num_parameters"],
            "user_values": ["MemoryPart", "NamedItem", "OneUser", "PathLevel", "RelationMap", "TokenChoice", "Voice"],
            "values": [
                "CodewordUse",
                "CountRange",
                "GeneratorInsight",
                "GroupAccuracy",
                "LayerGains",
                "MemoryInsight",
                "ModelInsight",
                "PrefixLevel",
            ],
        },
    )
