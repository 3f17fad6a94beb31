"""The residual-quantized autoencoder of Eqs. 6-10: encoder, codebooks level by level, straight-through, decoder.

Decisions:

- Inputs are centred and divided by one number for all dimensions, so that their geometry is kept; the loss is in those
  units, where a mean vector has squared norm D.
- E and D are first trained without quantization for some epochs (`warmup_epochs`): k-means then starts the codebooks,
  level by level, on encodings that mean something.
- After each epoch codebooks move to the means of the residuals they stand for (one step of k-means: the minimum of the
  codebook term of Eq. 10, which gradient steps trail behind), and codewords that no item uses start again at residuals
  of items, drawn in proportion to their squared error. Measured on 600 planted items: without warm-up and move the
  decoded error after three levels is 20 to 40 % larger.
- The residual r_l is not detached from the codewords above it: Eq. 10 stops gradients only where it says sg.

Its inputs are vectors of items, whatever they mean: representations of a graph, or plain features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from mmgrec.interfaces import Context
from mmgrec.recid import Codes
from mmgrec.training import Task, TrainingSettings, seeded, train
from mmgrec_kernels.residual_lookup import nearest_codeword, residual_lookup
from mmgrec_plugins.quantizers.kmeans import residual_kmeans

__all__ = ["AutoencoderSettings", "AutoencoderTask", "ResidualAutoencoder", "fit_autoencoder"]

_LEAST_BATCH = 64  # items


@dataclass(frozen=True, kw_only=True)
class AutoencoderSettings:
    """Shape and training of a `ResidualAutoencoder`."""

    hidden_dim: Annotated[int, Ge(1)] = 128  # of both two-layer MLPs; the released code's
    latent_dim: Annotated[int, Ge(1)] = 32  # of the codewords
    commitment: Annotated[float, Ge(0)] = 0.25  # mu of Eq. 10
    kmeans_start: bool = True  # codebooks start from k-means; else from random outputs of the encoder
    move_to_means: bool = True  # codewords move to the means of their residuals after each epoch
    restart: bool = True  # of codewords that no item uses, after each epoch
    warmup_epochs: Annotated[int, Ge(0)] = 30  # without quantization, before the codebooks start
    epochs: Annotated[int, Ge(0)] = 100
    steps_per_epoch: Annotated[int, Ge(1)] = 10  # wanted: small catalogues take smaller batches, of 64 items at least
    batch_size: Annotated[int, Ge(1)] = 512  # items, at most
    learning_rate: Annotated[float, Gt(0)] = 3e-3  # of Adam; falls to zero along a cosine

    def batch_items(self, num_items: int) -> int:
        """Items of a batch, of so many in all."""
        return min(self.batch_size, max(_LEAST_BATCH, -(-num_items // self.steps_per_epoch)))


class ResidualAutoencoder(nn.Module):
    """E, the codebooks and D. Call `start` once before use.

    Args:
        dim: of the inputs.
        num_levels: L.
        codebook_size: C, the same at each level.
        settings: the rest.
        generator: a CPU generator for the first weights.
    """

    mean: Tensor  # [dim]
    scale: Tensor  # []

    def __init__(
        self,
        dim: int,
        *,
        num_levels: int,
        codebook_size: int,
        settings: AutoencoderSettings,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = _mlp(dim, settings.hidden_dim, settings.latent_dim, generator)
        self.decoder = _mlp(settings.latent_dim, settings.hidden_dim, dim, generator)
        self.codebooks = nn.Parameter(torch.zeros(num_levels, codebook_size, settings.latent_dim))  # [L, C, latent]
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(()))

    @torch.no_grad()
    def measure(self, x: Tensor) -> None:
        """Take mean and scale of the inputs from the items ``[N, dim]``."""
        self.mean.copy_(x.mean(dim=0))
        self.scale.copy_((x - self.mean).square().mean().sqrt().clamp(min=1e-12))

    @torch.no_grad()
    def start(self, x: Tensor, generator: torch.Generator) -> None:
        """Take mean and scale from the items ``[N, dim]``, and the first codebooks from their encodings."""
        self.measure(x)
        z = self.encoder(self._standardised(x))
        size = self.codebooks.shape[1]
        if self.settings.kmeans_start:
            _, books = residual_kmeans(z, self.codebooks.shape[0], size, generator)
            for level, book in enumerate(books):
                self.codebooks[level, : book.shape[0]] = book
        else:
            for level in range(self.codebooks.shape[0]):
                rows = torch.randint(z.shape[0], (size,), generator=generator).to(z.device)
                self.codebooks[level] = z[rows] if level == 0 else z[rows] - z[rows.roll(1)]

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        """Eq. 10 for the items ``[B, dim]``; ``"loss"`` is the sum of the others, commitment weighted by mu."""
        x = self._standardised(x)
        z = self.encoder(x)  # Eq. 6
        tokens = residual_lookup(z.detach(), list(self.codebooks.detach())).tokens  # [B, L], Eq. 7
        num_levels, size, _ = self.codebooks.shape
        codeword = tokens + torch.arange(0, num_levels * size, size, device=tokens.device)
        e = F.embedding(codeword, self.codebooks.flatten(0, 1))  # [B, L, latent]
        total = e.cumsum(dim=1)
        r = z[:, None] - (total - e)  # [B, L, latent], Eq. 8
        quantized = total[:, -1]
        codebook = (r.detach() - e).square().sum(dim=(1, 2)).mean()
        commitment = (r - e.detach()).square().sum(dim=(1, 2)).mean()
        x_hat = self.decoder(z + (quantized - z).detach())  # Eq. 9
        reconstruction = (x - x_hat).square().sum(dim=1).mean()
        loss = reconstruction + codebook + self.settings.commitment * commitment
        return {"loss": loss, "reconstruction": reconstruction, "codebook": codebook, "commitment": commitment}

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Tokens ``[N, L]`` of the items ``[N, dim]``."""
        return residual_lookup(self.encoder(self._standardised(x)), list(self.codebooks.detach())).tokens

    @torch.no_grad()
    def decode(self, tokens: Tensor) -> Tensor:
        """What tokens ``[N, l]`` of the first l levels stand for, in the space of the items: ``[N, dim]``."""
        quantized = self.codebooks.new_zeros(tokens.shape[0], self.codebooks.shape[2])
        for level in range(tokens.shape[1]):
            quantized = quantized + F.embedding(tokens[:, level], self.codebooks[level])
        decoded: Tensor = self.decoder(quantized)
        return decoded * self.scale + self.mean

    def codes(self, x: Tensor) -> Codes:
        """The items ``[N, dim]`` as `Codes` on the CPU, with the error of `decode` after each level."""
        x = x.to(self.codebooks.device)
        token = self.encode(x)
        total = (x - x.mean(dim=0)).square().sum().clamp(min=1e-30)
        levels = range(1, token.shape[1] + 1)
        errors = tuple(float((x - self.decode(token[:, :level])).square().sum() / total) for level in levels)
        sizes = (self.codebooks.shape[1],) * token.shape[1]
        return Codes(token=token.cpu(), level_sizes=sizes, reconstruction=errors)

    @torch.no_grad()
    def tend(self, x: Tensor, generator: torch.Generator) -> int:
        """Look after the codebooks, as the settings say: move codewords to means, start unused ones again.

        Args:
            x: all items, ``[N, dim]``.
            generator: a CPU generator.

        Returns:
            codewords that were started again.
        """
        return self._tend(x, generator, move=self.settings.move_to_means, restart=self.settings.restart)

    @torch.no_grad()
    def restart(self, x: Tensor, generator: torch.Generator) -> int:
        """Start codewords that none of the items ``[N, dim]`` uses again at residuals of items; tells how many."""
        return self._tend(x, generator, move=False, restart=True)

    def _tend(self, x: Tensor, generator: torch.Generator, *, move: bool, restart: bool) -> int:
        """`tend` and `restart`, level by level on what the levels above leave over."""
        r = self.encoder(self._standardised(x))  # [N, latent]
        count = 0
        for level in range(self.codebooks.shape[0]):
            book = self.codebooks.data[level]
            tokens = nearest_codeword(r, book)
            size = torch.bincount(tokens, minlength=book.shape[0])
            dead = (size == 0).nonzero()[:, 0]
            error = (r - book[tokens]).square().sum(dim=1).cpu().double()
            if move:
                total = torch.zeros_like(book).index_add_(0, tokens, r)
                book.copy_(torch.where(size[:, None] > 0, total / size.clamp(min=1)[:, None], book))
            able = min(dead.numel(), int((error > 0).sum())) if restart else 0
            if able:
                rows = torch.multinomial(error, able, generator=generator).to(r.device)
                book[dead[:able]] = r[rows]
                count += able
            if move or able:
                tokens = nearest_codeword(r, book)
            r = r - book[tokens]
        return count

    def autoencoding_loss(self, x: Tensor) -> Tensor:
        """Squared error of D(E(x)) for the items ``[B, dim]``: Eq. 10 without quantization."""
        x = self._standardised(x)
        x_hat: Tensor = self.decoder(self.encoder(x))
        return (x - x_hat).square().sum(dim=1).mean()

    def _standardised(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.scale


class AutoencoderTask(Task[Tensor]):
    """Trains a `ResidualAutoencoder` on fixed items ``[N, dim]``, with quantization or, to warm up, without."""

    def __init__(self, autoencoder: ResidualAutoencoder, x: Tensor, *, quantize: bool = True) -> None:
        self.module = self.autoencoder = autoencoder
        self.x, self.quantize = x, quantize
        self.batch_size = autoencoder.settings.batch_items(x.shape[0])

    def steps_per_epoch(self) -> int:
        return -(-self.x.shape[0] // self.batch_size)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[Tensor]:
        for rows in torch.split(torch.randperm(self.x.shape[0], generator=generator), self.batch_size):
            yield self.x[rows.to(self.x.device)]

    def loss(self, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        if self.quantize:
            return self.autoencoder.losses(batch)
        return {"loss": self.autoencoder.autoencoding_loss(batch)}

    def parameter_groups(self) -> list[dict[str, object]]:
        parts = [self.autoencoder.encoder, self.autoencoder.decoder]
        networks: list[dict[str, object]] = [{"params": [p for part in parts for p in part.parameters()]}]
        return [*networks, {"params": [self.autoencoder.codebooks]}] if self.quantize else networks

    def after_epoch(self, epoch: int, generator: torch.Generator) -> None:
        if self.quantize:
            self.autoencoder.tend(self.x, generator)


def fit_autoencoder(
    x: Tensor, *, num_levels: int, codebook_size: int, settings: AutoencoderSettings, context: Context
) -> tuple[ResidualAutoencoder, list[dict[str, float]]]:
    """Make, start and train an autoencoder of items ``[N, dim]``.

    Args:
        x: the items; a codebook gets never more codewords than there are items.
        num_levels: L.
        codebook_size: C.
        settings: the rest.
        context: training is its stages ``autoencoder-warmup`` and ``autoencoder``.

    Returns:
        the trained autoencoder and one row of losses an epoch.
    """
    x = x.detach().to(context.device, torch.float32)
    autoencoder = ResidualAutoencoder(
        x.shape[1],
        num_levels=num_levels,
        codebook_size=min(codebook_size, x.shape[0]),
        settings=settings,
        generator=context.generator("weights"),
    ).to(context.device)
    autoencoder.measure(x)
    if settings.warmup_epochs:
        warmup = TrainingSettings(epochs=settings.warmup_epochs, learning_rate=settings.learning_rate)
        train(AutoencoderTask(autoencoder, x, quantize=False), warmup, context, "autoencoder-warmup")
    autoencoder.start(x, context.generator("codebooks"))
    training = TrainingSettings(epochs=settings.epochs, learning_rate=settings.learning_rate, schedule="cosine")
    return autoencoder, train(AutoencoderTask(autoencoder, x), training, context, "autoencoder")


def _mlp(dim: int, hidden_dim: int, out_dim: int, generator: torch.Generator) -> nn.Sequential:
    """Two layers; He's start for the first, its linear form for the second."""
    with seeded(generator):
        first, second = nn.Linear(dim, hidden_dim), nn.Linear(hidden_dim, out_dim)
        for layer, gain in ((first, 2.0), (second, 1.0)):
            nn.init.normal_(layer.weight, std=(gain / layer.in_features) ** 0.5)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(first, nn.ReLU(), second)
