"""The residual-quantized autoencoder: Eq. 10 and its gradients, start, restart, determinism, quality."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmgrec.interfaces import Context
from mmgrec.synthetic import planted
from mmgrec_plugins.quantizers.autoencoder import AutoencoderSettings, ResidualAutoencoder, fit_autoencoder
from mmgrec_plugins.quantizers.kmeans import residual_kmeans

SMALL = AutoencoderSettings(hidden_dim=16, latent_dim=4, epochs=3, warmup_epochs=2)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def items(num_items: int = 200, dim: int = 6, seed: int = 1) -> Tensor:
    g = generator(seed)
    return 3 * torch.randn(12, dim, generator=g)[torch.randint(12, (num_items,), generator=g)] + torch.randn(
        num_items, dim, generator=g
    )


def started(x: Tensor, settings: AutoencoderSettings = SMALL, codebook_size: int = 8) -> ResidualAutoencoder:
    autoencoder = ResidualAutoencoder(
        x.shape[1], num_levels=2, codebook_size=codebook_size, settings=settings, generator=generator()
    )
    autoencoder.start(x, generator(2))
    return autoencoder


def by_hand(model: ResidualAutoencoder, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Standardised x, z = r_0, and the codewords of both levels, found by comparing all distances."""
    x = (x - model.mean) / model.scale
    z = model.encoder(x)
    first = model.codebooks[0][torch.cdist(z, model.codebooks[0]).argmin(1)]
    second = model.codebooks[1][torch.cdist(z - first, model.codebooks[1]).argmin(1)]
    return x, z, first, second


def test_losses_are_those_of_equation_ten() -> None:
    x = items()
    model = started(x)
    x_in, z, first, second = by_hand(model, x)
    losses = model.losses(x)
    reconstruction = (x_in - model.decoder(first + second)).square().sum(1).mean()
    quantization = ((z - first).square().sum(1) + (z - first - second).square().sum(1)).mean()
    torch.testing.assert_close(losses["reconstruction"], reconstruction)
    torch.testing.assert_close(losses["codebook"], quantization)
    torch.testing.assert_close(losses["commitment"], quantization)
    torch.testing.assert_close(losses["loss"], reconstruction + 1.25 * quantization)


def test_the_codebook_term_moves_only_the_codewords_of_its_own_level() -> None:
    x = items()
    model = started(x)
    _, z, first, second = by_hand(model, x)
    expected = -2 * (z - first - second).detach()  # of the second level's term, per item, times 1/N
    tokens = model.encode(x)
    model.losses(x)["codebook"].backward()
    assert model.codebooks.grad is not None
    total = torch.zeros(8, 4).index_add_(0, tokens[:, 1], expected / x.shape[0])
    torch.testing.assert_close(model.codebooks.grad[1], total)
    assert model.encoder[0].weight.grad is None


def test_the_commitment_term_moves_the_encoder_and_not_the_last_codewords() -> None:
    x = items()
    model = started(x)
    _, z, first, second = by_hand(model, x)
    fixed_first, fixed_second = first.detach(), second.detach()
    expected = ((z - fixed_first).square().sum(1) + (z - fixed_first - fixed_second).square().sum(1)).mean()
    (wanted,) = torch.autograd.grad(expected, model.encoder[0].weight)
    model.losses(x)["commitment"].backward()
    torch.testing.assert_close(model.encoder[0].weight.grad, wanted)
    assert model.codebooks.grad is not None
    assert not model.codebooks.grad[1].any()


def test_the_reconstruction_term_passes_straight_through_to_the_encoder() -> None:
    x = items()
    model = started(x)
    x_in, z, first, second = by_hand(model, x)
    leaf = (first + second).detach().requires_grad_()
    error = (x_in - model.decoder(leaf)).square().sum(1).mean()
    (at_quantized,) = torch.autograd.grad(error, leaf)
    (wanted,) = torch.autograd.grad(z, model.encoder[0].weight, grad_outputs=at_quantized)
    model.losses(x)["reconstruction"].backward()
    torch.testing.assert_close(model.encoder[0].weight.grad, wanted)
    assert model.codebooks.grad is None or not model.codebooks.grad.any()


def test_gradient_reaches_the_inputs() -> None:
    x = items().requires_grad_()
    model = started(x.detach())
    model.losses(x)["loss"].backward()
    assert x.grad is not None
    assert x.grad.any()


def test_codebooks_start_from_residual_k_means_of_the_encodings() -> None:
    x = items()
    model = started(x)
    z = model.encoder((x - model.mean) / model.scale).detach()
    token, books = residual_kmeans(z, 2, 8, generator(2))
    torch.testing.assert_close(model.codebooks.detach(), torch.stack(books))
    assert torch.equal(model.encode(x), token)


def test_a_dead_codeword_starts_again_and_is_used() -> None:
    x = items()
    model = started(x)
    with torch.no_grad():
        model.codebooks[0, 3:] = 1e4  # five codewords far from every item
    assert model.encode(x)[:, 0].unique().numel() == 3
    assert model.restart(x, generator()) >= 5
    assert model.encode(x)[:, 0].unique().numel() == 8


def test_tending_moves_codewords_to_the_means_of_their_residuals() -> None:
    x = items()
    model = started(x, replace(SMALL, restart=False))
    with torch.no_grad():
        model.codebooks[0] += 0.1
    before = model.encode(x)
    z = model.encoder((x - model.mean) / model.scale).detach()
    model.tend(x, generator())
    for token in before[:, 0].unique():
        torch.testing.assert_close(model.codebooks[0, token].detach(), z[before[:, 0] == token].mean(0))


def test_equal_items_do_not_break_a_restart() -> None:
    x = torch.ones(50, 6)
    model = started(x)
    model.tend(x, generator())
    assert torch.unique(model.encode(x), dim=0).shape[0] == 1
    assert model.codebooks.isfinite().all()


def test_decoding_more_levels_comes_nearer_to_the_items() -> None:
    x = items(400, 12)
    settings = AutoencoderSettings(epochs=20, warmup_epochs=10)
    model, _ = fit_autoencoder(x, num_levels=3, codebook_size=16, settings=settings, context=Context())
    one, two, three = model.codes(x).reconstruction or ()
    assert three < two < one < 0.5
    assert model.decode(model.encode(x)).shape == x.shape


def test_inputs_of_any_offset_and_scale_give_the_same_codes() -> None:
    x = items(300, 8)
    near, _ = fit_autoencoder(x, num_levels=2, codebook_size=8, settings=SMALL, context=Context())
    far, _ = fit_autoencoder(1024 * x, num_levels=2, codebook_size=8, settings=SMALL, context=Context())
    assert torch.equal(near.encode(x), far.encode(1024 * x))


def test_same_seed_gives_the_same_bits() -> None:
    x = items()
    one, _ = fit_autoencoder(x, num_levels=2, codebook_size=8, settings=SMALL, context=Context(seed=3))
    two, _ = fit_autoencoder(x, num_levels=2, codebook_size=8, settings=SMALL, context=Context(seed=3))
    other, _ = fit_autoencoder(x, num_levels=2, codebook_size=8, settings=SMALL, context=Context(seed=4))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert not torch.equal(one.codebooks, other.codebooks)


def test_a_finished_training_is_taken_up_to_the_same_bits(tmp_path: Path) -> None:
    x = items()
    straight, _ = fit_autoencoder(x, num_levels=2, codebook_size=8, settings=SMALL, context=Context())
    context = Context(checkpoints=tmp_path)
    fit_autoencoder(x, num_levels=2, codebook_size=8, settings=SMALL, context=context)
    again, history = fit_autoencoder(x, num_levels=2, codebook_size=8, settings=SMALL, context=context)
    assert torch.equal(straight.codebooks, again.codebooks)
    assert len(history) == 3


def test_no_more_codewords_than_items() -> None:
    x = items(20)
    model, _ = fit_autoencoder(x, num_levels=2, codebook_size=64, settings=SMALL, context=Context())
    assert model.codebooks.shape[1] == 20


@pytest.mark.parametrize("codebook_size", [64, 128])
def test_defaults_use_the_codebooks_and_tell_items_apart(codebook_size: int) -> None:
    meaning = planted().latent["item_meaning"].float()
    settings = AutoencoderSettings(epochs=30, warmup_epochs=10)
    model, _ = fit_autoencoder(meaning, num_levels=3, codebook_size=codebook_size, settings=settings, context=Context())
    token = model.encode(meaning)
    assert all(token[:, level].unique().numel() >= 0.9 * codebook_size for level in range(3))
    group = torch.unique(token, dim=0, return_counts=True)[1]
    assert int((group == 1).sum()) >= 0.95 * meaning.shape[0]
