"""Makes the quantizer known to mmgrec. The class itself is imported only when somebody uses it."""

from mmgrec import hookimpl
from mmgrec.hookspecs import Register


@hookimpl
def mmgrec_quantizers(register: Register) -> None:
    register("hash", "mmgrec_hash.quantizer:HashQuantizer", summary="tokens from a hash, no training")
