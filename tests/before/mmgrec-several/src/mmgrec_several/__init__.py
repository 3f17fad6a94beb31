"""Makes the parts known to mmgrec."""

from mmgrec import hookimpl
from mmgrec.hookspecs import Register


@hookimpl
def mmgrec_quantizers(register: Register) -> None:
    register("parity", "mmgrec_several.parts:Parity", summary="item numbers in base two")


@hookimpl
def mmgrec_recommenders(register: Register) -> None:
    register("mean-vector", "mmgrec_several.parts:MeanVector", summary="items near the mean of what was liked")


@hookimpl
def mmgrec_metrics(register: Register) -> None:
    register("first-hit", "mmgrec_several.parts:FirstHit", summary="whether the first item is relevant")


@hookimpl
def mmgrec_datasets(register: Register) -> None:
    register("pairs", "mmgrec_several.reader:Pairs", summary="user|item, one pair a line")
