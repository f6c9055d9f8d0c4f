"""The two codes an image can have: continuous, or DNA-like letters (section 3.2).

Both offer `encode` (embedding -> code) and `decode` (code -> embedding).
B batch, E embedding values, L letters per gene, A alphabet. A DNA code is (B, E, L, A): a
probability per letter of the alphabet; all zeros means "none".
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ncamlib.config import ModelConfig
from ncamlib.kernels.fire import WORD, Fire, mix
from ncamlib.model.blocks import cb1_1d

FIT_STEPS, FIT_BATCH, FIT_RATE = 400, 2048, 3e-3  # of the initialisation


def draw_mutation(
    shape: tuple[int, int, int], rate: float, alphabet: int = 4, generator: torch.Generator | None = None
) -> Tensor:
    """Which letters change, and into what: (B, E, L) int64, -1 where the letter stays.

    Each letter is replaced with probability `rate` by one drawn uniformly from the whole alphabet, so a
    quarter of the replaced letters do not change.
    """
    device = generator.device if generator else None
    replaced = torch.rand(shape, generator=generator, device=device) < rate
    letters = torch.randint(alphabet, shape, generator=generator, device=device)
    return torch.where(replaced, letters, -1)


def seeded_mutation(shape: tuple[int, int, int], rate: float, seed: int) -> Tensor:
    """A mutation as `draw_mutation` gives it, by a hash of the seed and the letter's place: (B, E, L) int64, for all
    samples the same.

    The same on every machine and in the page; a higher rate replaces the same letters and more. Four letters.
    """
    batch, genes, letters = shape
    word = mix(mix(torch.tensor(seed & WORD)) ^ mix(torch.arange(genes * letters)))
    replaced = word < Fire(rate, word).limit if rate < 1 else torch.ones_like(word, dtype=torch.bool)
    return torch.where(replaced, mix(word) >> 30, -1).view(1, genes, letters).expand(batch, -1, -1)


def mutate(code: Tensor, mutation: Tensor | None) -> Tensor:
    """Apply a drawn mutation (B, E, L) to a DNA code (B, E, L, A), or noise (B, E) to a continuous one (B, E), in
    units of its root mean square; None leaves it as it is.
    """
    if mutation is None:
        return code
    if code.ndim == 2:
        return code + mutation * code.square().mean(1, keepdim=True).sqrt()
    mutation = mutation.unsqueeze(-2)
    random = mutation == torch.arange(code.shape[-1], device=mutation.device).unsqueeze(-1)
    kept = (mutation < 0).to(code.dtype)
    return torch.addcmul(random.to(code.dtype), code.transpose(-1, -2), kept).transpose(-1, -2)


def harden(code: Tensor) -> Tensor:
    """Every letter as its most probable one, one-hot; "none" stays "none". (B, E, L, A) -> same."""
    one_hot = F.one_hot(code.argmax(-1), code.shape[-1]).to(code.dtype)
    return one_hot * (code.sum(-1, keepdim=True) > 0)


class ContinuousCode(nn.Module):
    """The embedding is the code. (B, E) -> (B, E) both ways."""

    def encode(self, embedding: Tensor) -> Tensor:
        """(B, E) -> (B, E)."""
        return embedding

    def decode(self, code: Tensor) -> Tensor:
        """(B, E) -> (B, E)."""
        return code


class DNACode(nn.Module):
    """Each embedding value becomes a gene of L letters, independently and by the same small network.

    Four CB1 each way. Paper: the CB1 themselves expand each value to a gene of 16 features; here the blocks
    are L features wide and linear maps lead in (1 -> L, LA -> L) and out (L -> LA, L -> 1).
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.letters, self.alphabet = config.letters, config.alphabet
        width = config.letters
        self.to_gene = nn.Sequential(nn.Linear(1, width), *(cb1_1d(width, config.leak) for _ in range(4)))
        self.to_logits = nn.Linear(width, width * config.alphabet)
        self.from_letters = nn.Linear(width * config.alphabet, width)
        self.from_gene = nn.Sequential(*(cb1_1d(width, config.leak) for _ in range(4)), nn.Linear(width, 1))

    def _alphabet_first(self, parameter: Tensor, dim: int) -> Tensor:
        """Reorder the LA entries along `dim` to AL: vectors run over sixteen letters, not over four probabilities."""
        return parameter.unflatten(dim, (self.letters, self.alphabet)).transpose(dim, dim + 1).flatten(dim, dim + 1)

    def encode(self, embedding: Tensor) -> Tensor:
        """(B, E) -> letter probabilities (B, E, L, A), in memory by alphabet."""
        weight = self._alphabet_first(self.to_logits.weight, 0)
        logits = F.linear(self.to_gene(embedding.unsqueeze(-1)), weight, self._alphabet_first(self.to_logits.bias, 0))
        return logits.unflatten(-1, (self.alphabet, self.letters)).softmax(-2).transpose(-1, -2)

    def decode(self, code: Tensor) -> Tensor:
        """(B, E, L, A) -> (B, E). "None" (all zeros) reads as all letters being equally likely."""
        code = code.transpose(-1, -2)
        none = 1 - code.sum(-2, keepdim=True).clamp(max=1)
        known = (code + none / self.alphabet).flatten(-2)
        weight = self._alphabet_first(self.from_letters.weight, 1)
        return self.from_gene(F.linear(known, weight, self.from_letters.bias)).squeeze(-1)

    def initialise(self, generator: torch.Generator, steps: int | None = None) -> float:
        """Fit the code to carry standard normal values through 50% mutation; returns the residual squared error.

        This takes a few seconds and no image. Without it, letters hardly depend on the image at first while half of
        them are replaced, and training spends its time escaping from that.
        """
        optimiser, steps = torch.optim.Adam(self.parameters(), FIT_RATE), steps or FIT_STEPS
        for i in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = FIT_RATE * min(1.0, 2 * (1 - i / steps))
            values = torch.randn(1, FIT_BATCH, generator=generator, device=generator.device)
            mutation = draw_mutation((1, FIT_BATCH, self.letters), 0.5, self.alphabet, generator)
            loss = F.mse_loss(self.decode(mutate(self.encode(values), mutation)), values)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        optimiser.zero_grad()
        return loss.item()
