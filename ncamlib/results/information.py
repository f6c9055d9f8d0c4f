"""What the DNA-like code holds, and whether its robustness is more than repetition (sections 3.2 and 4).

N images, E genes, L letters per gene, A alphabet. A word is one gene's L letters, the most probable ones.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ncamlib.data.images import Images
from ncamlib.errors import NcamError
from ncamlib.experiments import EXPERIMENTS
from ncamlib.machine import device_name
from ncamlib.model import checkpoint
from ncamlib.model.dna import draw_mutation, harden, mutate
from ncamlib.model.manifold import NCAM
from ncamlib.project import Records, commit
from ncamlib.results.measurement import TEST_MUTATION

SAMPLE = 500  # images in a fixed sample, if the set is larger
BATCH = 32
HALF_WRONG = 2 / 3  # of the letters replaced, a quarter of which stay right by chance: half are wrong
SNAPPED = (2, 4, 16)  # words
MOST_WORDS = 64  # that a reader of mutated genes knows
READ = 20_000  # genes that are read
# The conditions that a model is grown under.
CLEAN, HARD, REPLACED, WRONG = "clean", "most probable letters", "half replaced", "half wrong"
BOTH = "most probable letters, half replaced"
NOISY = "noise as of the letters"


@dataclass(frozen=True)
class Information:
    """One model: its errors under several treatments of the code, and what its words carry (None for CE)."""

    experiment: str
    images: int
    errors: tuple[tuple[str, float], ...]  # (treatment of the code, MSE)
    noise: float  # of a decoded value when half of the letters are replaced (DNA), in units of its root mean square
    words: int | None  # different words in all genes of all images
    entropy: float | None  # bits per gene: of the words that one gene has in different images, mean over genes
    two_words: float | None  # share of the two most frequent words
    read: float | None  # share of mutated genes whose word an ideal reader recovers
    train_steps: int
    data_digest: str
    device: str
    commit: str


RECORDS = Records("information.json", Information)


def words_of(letters: Tensor, alphabet: int) -> Tensor:
    """Letters (..., L) as one number per word: (...) int64."""
    places = alphabet ** torch.arange(letters.shape[-1], device=letters.device)
    return (letters * places).sum(-1)


def letters_of(words: Tensor, letters: int, alphabet: int) -> Tensor:
    """The inverse of `words_of`: (...) -> (..., L)."""
    return words.unsqueeze(-1) // alphabet ** torch.arange(letters, device=words.device) % alphabet


def entropy(words: Tensor) -> float:
    """Bits per gene that words (N, E) carry: the entropy of each gene over the images, mean over genes."""
    total = 0.0
    for gene in words.T:
        shares = gene.unique(return_counts=True)[1].double() / len(gene)
        total -= (shares * shares.log2()).sum().item()
    return total / words.shape[1]


def frequent(words: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The most frequent words of all genes, and their shares: two tensors (K,)."""
    values, counts = words.flatten().unique(return_counts=True)
    order = counts.argsort(descending=True, stable=True)[:most]
    return values[order], counts[order].double() / words.numel()


def snap(letters: Tensor, words: Tensor, alphabet: int) -> Tensor:
    """Every gene as the nearest of some words, by how many letters differ. (B, E, L), (K,) -> (B, E, L)."""
    known = letters_of(words, letters.shape[-1], alphabet)
    same = torch.stack([(letters == word).sum(-1) for word in known])  # (K, B, E)
    return known[same.argmax(0)]


def read_right(words: Tensor, shares: Tensor, letters: int, alphabet: int, rate: float, seed: int = 0) -> float:
    """The share of mutated genes whose word an ideal reader recovers, who knows these words and how frequent each is.
    Where there are others, their genes count as misread.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.multinomial(shares, READ, replacement=True, generator=generator)
    known = letters_of(words, letters, alphabet)
    mutation = draw_mutation((1, READ, letters), rate, alphabet, generator)[0]
    seen = torch.where(mutation < 0, known[drawn], mutation)
    right, wrong = 1 - rate * (1 - 1 / alphabet), max(rate / alphabet, 1e-12)  # how probable a letter is
    same = torch.stack([(seen == word).sum(-1) for word in known], 1).double()  # (READ, K)
    likely = same * math.log(right / wrong) + (shares / shares.sum()).log()
    return (likely.argmax(1) == drawn).double().mean().item() * shares.sum().item()


def repetition_right(letters: int, alphabet: int, rate: float) -> float:
    """What `read_right` gives for a repetition code: one word per letter of the alphabet, that letter all along."""
    words = words_of(torch.arange(alphabet).unsqueeze(-1).expand(-1, letters), alphabet)
    return read_right(words, torch.full((alphabet,), 1 / alphabet, dtype=torch.float64), letters, alphabet, rate)


def _error(model: NCAM, images: Images, treat: Callable[[Tensor, torch.Generator], Tensor]) -> float:
    """The mean error of images grown from their treated codes."""
    generator, total = torch.Generator().manual_seed(0), 0.0
    for part in images.pixels.to(model.device).split(BATCH):
        weights = model.decode(treat(model.encode(part), generator))
        grown = model.grow(weights, model.config.steps, model.draw_fire(len(part), None, generator))
        total += (model.nca.visible(grown) - part).cpu().double().square().mean((1, 2, 3)).sum().item()
    return total / len(images)


def _dna(model: NCAM, images: Images) -> tuple[dict[str, float], dict[str, Any]]:
    """(errors, everything else) of a model with DNA-like codes."""
    config = model.config
    one_hot = [harden(model.encode(part)) for part in images.pixels.to(model.device).split(BATCH)]
    letters = torch.cat([code.argmax(-1).cpu() for code in one_hot])
    words = words_of(letters, config.alphabet)
    known, shares = frequent(words, MOST_WORDS)

    def replaced(rate: float) -> Callable[[Tensor, torch.Generator], Tensor]:
        return lambda code, generator: mutate(code, model.draw_mutation(len(code), rate, generator))

    def hard_replaced(code: Tensor, generator: torch.Generator) -> Tensor:
        return replaced(TEST_MUTATION)(harden(code), generator)

    def snapped(count: int) -> Callable[[Tensor, torch.Generator], Tensor]:
        def treat(code: Tensor, _: torch.Generator) -> Tensor:
            near = snap(code.argmax(-1).cpu(), known[:count], config.alphabet)
            return F.one_hot(near, config.alphabet).to(code)

        return treat

    treatments = {CLEAN: lambda code, _: code, HARD: lambda code, _: harden(code)}
    treatments |= {f"nearest of {count} words": snapped(count) for count in SNAPPED}
    treatments |= {REPLACED: replaced(TEST_MUTATION), BOTH: hard_replaced, WRONG: replaced(HALF_WRONG)}
    errors = {name: _error(model, images, treat) for name, treat in treatments.items()}
    about = {
        "noise": noise(model, images),
        "words": len(words.unique()),
        "entropy": entropy(words),
        "two_words": shares[:2].sum().item(),
        "read": read_right(known, shares, config.letters, config.alphabet, TEST_MUTATION),
    }
    return errors, about


def noise(model: NCAM, images: Images) -> float:
    """What replacing half of the letters does to a decoded value: root mean square change / root mean square value."""
    generator, change, size = torch.Generator().manual_seed(0), 0.0, 0.0
    for part in images.pixels.to(model.device).split(BATCH):
        code = model.encode(part)
        value = model.code.decode(code)
        mutated = model.code.decode(mutate(code, model.draw_mutation(len(part), TEST_MUTATION, generator)))
        change += (mutated - value).cpu().double().square().sum().item()
        size += value.cpu().double().square().sum().item()
    return math.sqrt(change / size)


def _twin(name: str, device: torch.device) -> NCAM:
    """The DNA model beside a continuous one; NcamError if none is shipped."""
    other = name.replace("-ce-", "-dna-")
    if other == name or other not in EXPERIMENTS or not checkpoint.checkpoint_path(other).is_file():
        raise NcamError(f"there is no DNA model '{other}' whose noise '{name}' could be given: train that first")
    return checkpoint.load_model(other, device)[0]


@torch.no_grad()
def measure_information(model: NCAM, images: Images, header: dict[str, Any]) -> Information:
    """Measure one model. A CE model gets the noise of the DNA model of the same name. NcamError for other models."""
    name = header["experiment"]["name"]
    if not isinstance(model, NCAM):
        raise NcamError(f"'{name}' has no code that automata are predicted from")
    images.require(model.config.image_channels, model.config.image_size, "the model")
    sample = images.sample(SAMPLE)
    if model.config.code == "dna":
        errors, about = _dna(model, sample)
    else:
        twin = _twin(name, model.device)
        about = {"noise": noise(twin, sample), "words": None, "entropy": None, "two_words": None, "read": None}

        def noisy(code: Tensor, generator: torch.Generator) -> Tensor:
            size = about["noise"] * code.square().mean(1, keepdim=True).sqrt()
            return code + size * torch.randn(code.shape, generator=generator).to(code)

        treatments = {CLEAN: lambda code, _: code, NOISY: noisy}
        errors = {treatment: _error(model, sample, treat) for treatment, treat in treatments.items()}
    where = {"device": device_name(model.device), "commit": commit()}
    trained = {"train_steps": header["step"], "data_digest": header["data_digest"]}
    return Information(name, len(sample), tuple(errors.items()), **about, **trained, **where)


def record(row: Information) -> None:
    """Add a row, in place of an earlier one of the same experiment."""

    def changed(rows: list[Information]) -> list[Information]:
        return sorted([*(one for one in rows if one.experiment != row.experiment), row], key=lambda one: one.experiment)

    RECORDS.update(changed)
