"""The whole forward pass once more in numpy, from the definitions in the book; none of the model's code is used.

N, E genes of L letters of an alphabet of A; maps are (channels, height, width).
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ncamlib import data, load_model

FILE = Path(__file__).resolve().parent.parent / "checkpoints" / "chars-dna-syn.safetensors"
TYPES = {"F16": np.float16, "F32": np.float32, "I8": np.int8}
STEPS, CHANNELS, HIDDEN = 32, 16, 128


def read(file: Path) -> dict[str, np.ndarray]:
    """The checkpoint format: a table as JSON behind its length, then the numbers; 8-bit rows have a scale each."""
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    table = json.loads(content[8 : 8 + length])
    table.pop("__metadata__")
    stored = {}
    for name, entry in table.items():
        begin, end = (8 + length + at for at in entry["data_offsets"])
        stored[name] = np.frombuffer(content[begin:end], TYPES[entry["dtype"]]).reshape(entry["shape"])
    scales = (".scale", ".columns")
    plain = {name: value.astype(np.float64) for name, value in stored.items() if not name.endswith(scales)}
    for name, scale in stored.items():
        if name.endswith(scales):
            plain[name.rpartition(".")[0]] *= scale
    return plain


W = read(FILE)


def linear(name: str, x: np.ndarray) -> np.ndarray:
    return x @ W[f"{name}.weight"].T + W[f"{name}.bias"]


def convolution(name: str, x: np.ndarray) -> np.ndarray:
    """Zero padded; as a sum of shifted maps."""
    kernel = W[f"{name}.weight"]
    reach, (_, height, width) = kernel.shape[-1] // 2, x.shape
    padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach)))
    out = np.zeros((len(kernel), height, width)) + W[f"{name}.bias"][:, None, None]
    for dy in range(kernel.shape[2]):
        for dx in range(kernel.shape[3]):
            out += np.einsum("oi,iyx->oyx", kernel[:, :, dy, dx], padded[:, dy : dy + height, dx : dx + width])
    return out


def residual(name: str, x: np.ndarray, layer) -> np.ndarray:
    """x + leak * outer(relu(inner(x)))."""
    return x + np.exp(W[f"{name}.leak.log"]) * layer(f"{name}.outer", np.maximum(layer(f"{name}.inner", x), 0))


def encode(image: np.ndarray) -> np.ndarray:
    """(4, 64, 64), premultiplied -> embedding (512,). The four means: all, of columns, of rows, over the maps."""
    x = convolution("encoder.stem", image)
    for block in range(4):
        x = residual(f"encoder.body.{block}", x, convolution)
    means = [x.mean((1, 2)), x.mean(1).ravel(), x.mean(2).ravel(), x.mean(0).ravel()]
    seen = (np.concatenate(means) - W["encoder.project.centre"]) * W["encoder.project.gain"]
    return residual("encoder.head.0", linear("encoder.project", seen), linear)


def letters_of(embedding: np.ndarray) -> np.ndarray:
    """One number per gene -> the most probable of four letters in sixteen places: (512, 16)."""
    x = linear("code.to_gene.0", embedding[:, None])
    for block in range(1, 5):
        x = residual(f"code.to_gene.{block}", x, linear)
    return linear("code.to_logits", x).reshape(len(x), 16, 4).argmax(-1)


def read_genes(letters: np.ndarray) -> np.ndarray:
    """Letters (512, 16) -> embedding (512,), each gene for itself."""
    x = linear("code.from_letters", np.eye(4)[letters].reshape(len(letters), -1))
    for block in range(4):
        x = residual(f"code.from_gene.{block}", x, linear)
    return linear("code.from_gene.4", x)[:, 0]


def predict(embedding: np.ndarray) -> tuple[np.ndarray, ...]:
    """All weights of the automaton, in units of one over the root of the fan in."""
    x = embedding
    for block in range(2):
        x = residual(f"predictor.body.{block}", x, linear)
    out = linear("predictor", x / np.sqrt(len(x)))
    maps = 3 * CHANNELS
    ends = np.cumsum([HIDDEN * maps, HIDDEN, CHANNELS * HIDDEN])
    w1, b1, w2, b2 = np.split(out, ends)
    first, second = maps**-0.5, HIDDEN**-0.5
    return first * w1.reshape(HIDDEN, maps), first * b1, second * w2.reshape(CHANNELS, HIDDEN), second * b2


def grow(weights: tuple[np.ndarray, ...], steps: int, wrap: bool) -> np.ndarray:
    """From one seed, at (32, 32) of 64 x 64: alpha and hidden channels 1. -> (16, 64, 64)."""
    w1, b1, w2, b2 = weights
    state = np.zeros((CHANNELS, 64, 64))
    state[3:, 32, 32] = 1
    leak = np.exp(W["nca.leak.log"])
    for _ in range(steps):
        x = np.pad(state, ((0, 0), (1, 1), (1, 1)), "wrap" if wrap else "constant")
        smooth_y = x[:, :-2] + 2 * x[:, 1:-1] + x[:, 2:]
        smooth_x = x[:, :, :-2] + 2 * x[:, :, 1:-1] + x[:, :, 2:]
        sobel_x = (smooth_y[:, :, 2:] - smooth_y[:, :, :-2]) / 8
        sobel_y = (smooth_x[:, 2:] - smooth_x[:, :-2]) / 8
        z = np.concatenate([state, sobel_x, sobel_y]).reshape(3 * CHANNELS, -1)
        z = (z - z.mean(1, keepdims=True)) / np.sqrt(z.var(1, keepdims=True) + 1e-5)
        update = w2 @ np.maximum(w1 @ z + b1[:, None], 0) + b2[:, None]
        state = state + leak * update.reshape(state.shape)
    return state


@pytest.mark.parametrize("key", ["🅰", "💯"])
def test_the_definitions_suffice(key):
    model, header = load_model("chars-dna-syn")
    images = data.emoji(header["images"])
    image = images.pixels[images.index(key)]
    letters = model.encode(image[None]).argmax(-1)[0].numpy()
    assert (letters_of(encode(image.double().numpy())) == letters).mean() > 0.999  # but for near ties of two letters
    state = grow(predict(read_genes(letters)), STEPS, model.config.wrap)
    assert model.config.steps == STEPS
    code = torch.nn.functional.one_hot(torch.tensor(letters)[None], 4).float()
    known = model.grow(model.decode(code), STEPS)[0].detach().numpy()
    # The library computes in single precision, and rounding grows with the picture: most at the seed.
    assert np.abs(state - known).mean() < 1e-5 * max(1, np.abs(known).max())
    assert np.abs(state - known).max() < 1e-3 * max(1, np.abs(known).max())
