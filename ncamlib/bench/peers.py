"""The same rollout in JAX, for the benchmark only: a plain scan of a vmap, and CAX's own modules.

Needs the `bench` extra. B batch, C channels, P = 3C maps, K hidden units, H W grid, T steps.
"""

import functools
import importlib.util
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ncamlib.kernels import Weights
from ncamlib.kernels.reference import EPS


def installed(wrap: bool = False) -> dict[str, "Peer"]:
    """The peers that can run here, by name. With `wrap` their grids do, else zeros lie beyond the edge."""
    peers = {"jax": JaxScan, "cax": Cax}
    return {name: peer(wrap) for name, peer in peers.items() if importlib.util.find_spec(name)}


class Peer:
    """A rollout outside torch: call it for forward, or `training` for forward and backward."""

    def __init__(self, wrap: bool = False):
        self.wrap = wrap

    def _prepare(self, state: Tensor, weights: Weights, leak: Tensor, steps: int, masks: Tensor | None) -> tuple:
        """(inputs to differentiate, the others), in the peer's own layout."""
        raise NotImplementedError

    @property
    def _grow(self) -> Callable[..., Any]:
        """The compiled rollout (inputs, others) -> state."""
        raise NotImplementedError

    @property
    def _gradients(self) -> Callable[..., Any]:
        """The compiled gradients of the sum of the final state."""
        raise NotImplementedError

    def __call__(self, *arguments: Any) -> Tensor:
        """As `kernels.rollout`."""
        return _torch(self._grow(*self._prepare(*arguments))).permute(0, 3, 1, 2)

    def training(self, *arguments: Any) -> None:
        """Forward and backward with respect to everything; the gradients are computed and dropped."""
        import jax

        jax.block_until_ready(self._gradients(*self._prepare(*arguments)))


@functools.cache
def _jax() -> SimpleNamespace:
    import jax

    jax.config.update("jax_platforms", "cpu")
    return SimpleNamespace(jax=jax, np=jax.numpy)


def _array(tensor: Tensor) -> Any:
    return _jax().np.asarray(tensor.numpy())


def _torch(array: Any) -> Tensor:
    return torch.from_dlpack(array)


def _normalise(maps: Any, axes: tuple[int, ...]) -> Any:
    j = _jax()
    mean = maps.mean(axes, keepdims=True)
    return (maps - mean) * j.jax.lax.rsqrt(((maps - mean) ** 2).mean(axes, keepdims=True) + EPS)


class JaxScan(Peer):
    """`jit` of a `scan` over the steps of a `vmap` over the samples."""

    def _prepare(self, state, weights, leak, steps, masks):
        if masks is None:
            masks = torch.ones(steps, len(state), 1, *state.shape[2:], dtype=torch.bool)
        cells = state.permute(0, 2, 3, 1).contiguous()
        return [_array(t) for t in (cells, *weights, leak)], _array(masks[:, :, 0])

    def step(self, x, w1, b1, w2, b2, leak, mask):
        """One sample's step: x (H, W, C)."""
        np = _jax().np
        height, width, channels = x.shape
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)), mode="wrap" if self.wrap else "constant")
        column = padded[:-2] + 2 * padded[1:-1] + padded[2:]
        row = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
        maps = np.concatenate([x, (column[:, 2:] - column[:, :-2]) / 8, (row[2:] - row[:-2]) / 8], -1)
        maps = _normalise(maps.reshape(height * width, 3 * channels), (0,))
        update = np.maximum(maps @ w1.T + b1, 0) @ w2.T + b2
        return x + leak * mask[..., None] * update.reshape(x.shape)

    def scan(self, inputs, masks):
        """The whole rollout."""
        jax = _jax().jax
        x, *weights, leak = inputs
        step = jax.vmap(self.step, in_axes=(0, 0, 0, 0, 0, None, 0))
        return jax.lax.scan(lambda x, mask: (step(x, *weights, leak, mask), None), x, masks)[0]

    @functools.cached_property
    def _grow(self):
        return _jax().jax.jit(self.scan)

    @functools.cached_property
    def _gradients(self):
        return _jax().jax.jit(_jax().jax.grad(lambda inputs, masks: self.scan(inputs, masks).sum()))


@functools.cache
def _cax_system() -> Any:
    """The paper's automaton from CAX's parts: depthwise convolution, the norm, residual update with cell dropout."""
    from cax.core import ComplexSystem
    from cax.core.perceive import ConvPerceive
    from cax.core.update import ResidualUpdate

    class Automaton(ComplexSystem):
        def __init__(self, channels, hidden, fire_rate, wrap, rngs):
            p, padding = 3 * channels, "CIRCULAR" if wrap else "SAME"
            self.perceive = ConvPerceive(channels, p, padding=padding, feature_group_count=channels, rngs=rngs)
            self.update = ResidualUpdate(2, channels, p, (hidden,), cell_dropout_rate=1 - fire_rate, rngs=rngs)

        def _step(self, state, input=None, *, sow=False):
            return self.update(state, _normalise(self.perceive(state), (0, 1)), input)

    return Automaton


class Cax(Peer):
    """CAX with weights per sample, through `nnx.vmap`; it draws its own masks and has leak = 1.

    `w2` and `b2` are multiplied by the leak factor beforehand, which makes the rollout the same.
    """

    def _prepare(self, state, weights, leak, steps, masks):
        batch, channels, _, _ = state.shape
        rate = 1.0 if masks is None else round(masks.float().mean().item(), 1)
        system, axes = self.system(batch, channels, weights.w1.shape[1], rate, self.wrap)
        sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
        centre = torch.zeros(3, 3)
        centre[1, 1] = 1
        stencils = torch.stack([centre, sobel, sobel.T], -1).repeat(1, 1, channels)[:, :, None]  # (3, 3, 1, P)
        w1 = weights.w1.unflatten(2, (3, channels)).transpose(2, 3).flatten(2)  # maps of a channel together
        one, two = system.update.layers
        system.perceive.conv.kernel[...] = _array(stencils.expand(batch, *stencils.shape))
        one.kernel[...], one.bias[...] = _array(w1.transpose(1, 2)[:, None, None]), _array(weights.b1)
        two.kernel[...] = _array((leak * weights.w2).transpose(1, 2)[:, None, None])
        two.bias[...] = _array(leak * weights.b2)
        return system, _array(state.permute(0, 2, 3, 1).contiguous()), steps, axes

    @staticmethod
    @functools.cache
    def system(batch, channels, hidden, rate, wrap):
        """Automata for a batch, and the axes to map over."""
        from flax import nnx

        axes = nnx.StateAxes({...: 0})
        make = nnx.vmap(lambda rngs: _cax_system()(channels, hidden, rate, wrap, rngs), in_axes=(axes,), out_axes=axes)
        return make(nnx.Rngs(0).split(batch)), axes

    @staticmethod
    def rollout(system, state, steps, axes):
        """The whole rollout of every sample."""
        from flax import nnx

        return nnx.vmap(lambda s, x: s(x, num_steps=steps), in_axes=(axes, 0))(system, state)

    @functools.cached_property
    def _grow(self):
        from flax import nnx

        return nnx.jit(self.rollout, static_argnums=(2, 3))

    @functools.cached_property
    def _gradients(self):
        from flax import nnx

        grad = nnx.grad(lambda *arguments: self.rollout(*arguments).sum(), argnums=(0, 1))
        return nnx.jit(grad, static_argnums=(2, 3))
