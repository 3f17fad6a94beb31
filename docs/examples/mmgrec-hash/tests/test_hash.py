"""The contract that every quantizer keeps, and what is this one's own."""

from mmgrec_hash.quantizer import HashQuantizer

from mmgrec import Context, Quantizer
from mmgrec.testing import QuantizerContract, tiny_data


class TestContract(QuantizerContract):
    def make(self) -> Quantizer:
        return HashQuantizer(codebook_size=8)


def test_codebook_size_bounds_the_tokens() -> None:
    codes = HashQuantizer(codebook_size=4).fit(tiny_data(), Context()).codes
    assert int(codes.token.max()) < 4
