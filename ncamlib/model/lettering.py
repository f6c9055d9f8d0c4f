"""Puts the codes of a trained continuous model into DNA letters: a DNA model can start from automata that are good.

N images, E embedding.
"""

import torch
from torch import Tensor, nn

from ncamlib.model.encoder import Encoder
from ncamlib.model.manifold import NCAM

FIT_STEPS = 6000  # of the letters: they must carry more than at the start of a training, when all else is rough
RIDGE = 1e-7  # in traces of the Gram matrix; the fit leaves a thousandth of the codes' variance on the full set


@torch.no_grad()
def to_letters(model: NCAM, continuous: NCAM, images: Tensor, generator: torch.Generator) -> float:
    """Make `model`, with DNA codes, grow what `continuous`, alike but for its codes, grows from images (N, ...).

    Its embedding is the continuous code, centred, turned at random and divided by its root mean square: so every gene
    carries a number of about the same size, and mutation disturbs all directions alike. The encoder is fitted to give
    it, the letters are fitted to carry it, and the predictor is made to read it. What is left is the noise of the
    letters, which training must learn to bear, and what the encoder misses: returned, as a share of the variance.
    """
    device = model.device
    codes = torch.cat([continuous.embed(part.to(continuous.device)) for part in images.split(64)]).cpu()
    mean, width = codes.mean(0), codes.shape[1]
    turn = torch.linalg.qr(torch.randn(width, width, generator=generator))[0]
    size = (codes - mean).square().mean().sqrt()
    if size < 1e-3 * codes.square().mean().sqrt() + 1e-6:  # one image, or copies of it
        size = torch.tensor(1.0)
    left = _fit(model.encoder, images, (codes - mean) @ turn.T / size)
    model.predictor.load_state_dict(continuous.predictor.state_dict())
    _read(model.predictor, size * turn.T, turn / size, mean)
    model.nca.load_state_dict(continuous.nca.state_dict())
    with torch.enable_grad():
        model.code.cpu().initialise(generator, FIT_STEPS)
    model.code.to(device)
    return left


def _fit(encoder: Encoder, images: Tensor, embeddings: Tensor) -> float:
    """Make the encoder map images (N, ...) to embeddings (N, E): ridge regression on their means, blocks that add 0.

    Returns the share of the variance that is missed.
    """
    for block in encoder.head:
        nn.init.zeros_(block.outer.weight)
        nn.init.zeros_(block.outer.bias)
    project = encoder.project
    x = (encoder.all_means(images) - project.centre) * project.gain
    x, y = x.cpu().double(), embeddings.cpu().double()
    x_mean, y_mean = x.mean(0), y.mean(0)
    x, y = x - x_mean, y - y_mean
    few = len(x) < x.shape[1]
    gram = x @ x.T if few else x.T @ x
    gram.diagonal().add_(RIDGE * gram.trace() + 1e-12)
    weight = x.T @ torch.linalg.solve(gram, y) if few else torch.linalg.solve(gram, x.T @ y)
    project.weight.copy_(weight.T)
    project.bias.copy_(y_mean - weight.T @ x_mean)
    return ((x @ weight - y).square().mean() / y.square().mean().clamp_min(1e-12)).item()


def _read(predictor: nn.Module, matrix: Tensor, inverse: Tensor, offset: Tensor) -> None:
    """Make a predictor that read matrix @ y + offset read y: (E, E), its inverse, (E,)."""
    matrix, inverse, offset = (tensor.to(predictor.bias.device) for tensor in (matrix, inverse, offset))
    for block in predictor.body:
        block.inner.bias += block.inner.weight @ offset
        block.inner.weight.copy_(block.inner.weight @ matrix)
        block.outer.weight.copy_(inverse @ block.outer.weight)
        block.outer.bias.copy_(inverse @ block.outer.bias)
    predictor.bias += predictor.weight @ offset * len(offset) ** -0.5
    predictor.weight.copy_(predictor.weight @ matrix)
