"""Pictures from arrays: strips, sheets, animations, and the book's matplotlib figures.

F frames, N images, C channels, H W pixels. RGBA is premultiplied; pictures are shown over white
unless said otherwise.
"""

import io
import itertools
import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ncamlib.data.pictures import over_white
from ncamlib.project import project_root, write_atomically

VISIBLE = 16  # of 255: pixels that differ by less look alike
ROUNDING = 1e-4  # share of pixels in which hundreds of steps may amplify rounding that far


def wound(before: Tensor, after: Tensor) -> Tensor:
    """The cells that damage has blanked. Two states (N, C, H, W) -> (N, H, W) bool."""
    return (after == 0).all(1) & (before != 0).any(1)


def _outline(axis: Any, cells: Tensor) -> None:
    """Draw a line round some cells (H, W): a blank one is as white as the paper."""
    if cells.any():
        axis.contour(cells.float().numpy(), [0.5], colors="0.5", linewidths=0.6)


def growth_strip(
    frames: Tensor,
    titles: Sequence[Any],
    targets: Tensor | None = None,
    outlines: Mapping[int, Tensor] | None = None,
) -> Any:
    """Fig. 2: one row per image, growth from left to right, the target last. Returns a matplotlib figure.

    frames (F, N, 3 or 4, H, W), one per title; targets (N, 3 or 4, H, W), if they are at hand. `outlines`: cells to
    draw a line round (N, H, W), by the frame's number.
    """
    import matplotlib.pyplot as plt

    if targets is not None:
        frames, titles = torch.cat([frames, targets[None]]), [*titles, "target"]
    rows, columns = frames.shape[1], len(titles)
    top = 0.05 + 0.2 * max(str(title).count("\n") + 1 for title in titles)
    height = 0.9 * rows + top
    figure, axes = plt.subplots(rows, columns, figsize=(0.9 * columns, height), squeeze=False)
    for row in range(rows):
        for axis, image in zip(axes[row], frames[:, row], strict=True):
            axis.imshow(over_white(image).clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_color("0.8")
        for column, cells in (outlines or {}).items():
            _outline(axes[row, column], cells[row])
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(str(title), fontsize=9)
    figure.subplots_adjust(left=0.003, right=0.997, top=1 - top / height, bottom=0.005, wspace=0.05, hspace=0.05)
    return figure


def channel_grid(state: Tensor, names: Sequence[str] | None = None) -> Any:
    """All channels of one state, each on its own scale, whose end is in the title. (C, H, W) -> a matplotlib figure."""
    import matplotlib.pyplot as plt

    count = len(state)
    names = names or [*"RGBA", *(f"hidden {i}" for i in range(1, count - 3))]
    columns = 8
    rows = -(-count // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(8, 1.3 * rows), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, channel, name in zip(axes.flat, state, names, strict=False):
        bound = channel.abs().max().clamp_min(1e-6).item()
        axis.imshow(channel.numpy(), cmap="cividis", vmin=-bound, vmax=bound, interpolation="nearest")
        axis.set_title(f"{name} ±{bound:.2g}", fontsize=8)
    figure.tight_layout(pad=0.3)
    return figure


def save_figure(figure: Any, name: str, parameters: dict[str, Any]) -> None:
    """Save a matplotlib figure under figures/ as PNG, its parameters in its metadata; a plot also as SVG.

    A figure that is made of pictures would only be larger as SVG.

    Only in the book's own folder, where the book is built: a run from elsewhere, with other parameters,
    leaves the figures of the book alone. So does a run whose figure differs only by rounding, as machines do.
    """
    import matplotlib as mpl

    if Path.cwd() != project_root() / "book":
        return
    path = project_root() / "figures" / name
    texts = {k: " ".join(map(str, v)) if isinstance(v, list) else v for k, v in parameters.items()}
    description = json.dumps(texts, ensure_ascii=False, sort_keys=True, default=str)
    contents = {}
    pictures = any(axis.images for axis in figure.axes)
    for suffix, unwanted in ((".png", "Software"),) if pictures else ((".png", "Software"), (".svg", "Date")):
        buffer = io.BytesIO()
        with mpl.rc_context({"svg.hashsalt": name}):  # the same figure gives the same file
            figure.savefig(buffer, format=suffix[1:], dpi=150, metadata={"Description": description, unwanted: None})
        contents[path.with_suffix(suffix)] = buffer.getvalue()
    picture = path.with_suffix(".png")
    if all(file.exists() for file in contents) and _same(picture.read_bytes(), contents[picture]):
        return
    for file, content in contents.items():
        write_atomically(file, content)


def different(one: bytes, other: bytes) -> float:
    """The share of the pixels of two PNGs that a reader could tell apart; 1 if their sizes differ."""
    import numpy as np

    with Image.open(io.BytesIO(one)) as first, Image.open(io.BytesIO(other)) as second:
        if first.size != second.size:
            return 1.0
        pixels = [np.asarray(picture.convert("RGB"), np.int16) for picture in (first, second)]
    return float((np.abs(pixels[0] - pixels[1]).max(-1) > VISIBLE).mean())


def picture_parameters(png: bytes) -> dict[str, Any] | None:
    """The parameters stored in a PNG by `save_figure`; None for anything else."""
    try:
        with Image.open(io.BytesIO(png)) as picture:
            return json.loads(picture.text["Description"])
    except (OSError, AttributeError, KeyError, ValueError):
        return None


def _same(one: bytes, other: bytes) -> bool:
    """Whether two PNGs by `save_figure` have the same parameters and look the same."""
    return picture_parameters(one) == picture_parameters(other) and different(one, other) < ROUNDING


def mutation_curves(curves: dict[str, Sequence[tuple[float, float]]]) -> Any:
    """MSE against the share of mutated letters, a panel per set of images. Returns a matplotlib figure."""
    import matplotlib.pyplot as plt

    sets = list(dict.fromkeys(name.split("-")[0] for name in curves)) or [""]
    figure, axes = plt.subplots(1, len(sets), figsize=(max(5, 4.2 * len(sets)), 3.4), sharey=True, squeeze=False)
    for axis, images in zip(axes.flat, sets, strict=True):
        styles = itertools.cycle(("o-", "s--", "^:", "d-.", "v-", "x--"))
        for (name, curve), style in zip(curves.items(), styles, strict=False):
            if name.split("-")[0] == images:
                axis.plot(*zip(*curve, strict=True), style, label=name, markersize=4)
        axis.axvline(0.5, color="0.7", linewidth=1, zorder=0)
        axis.set(xlabel="mutation rate", yscale="log")
        axis.legend(frameon=False, loc="upper left", fontsize=8)
    axes[0, 0].set_ylabel("MSE")
    figure.tight_layout()
    return figure


def seed_spread(errors: dict[str, Sequence[float | None]], published: Sequence[float]) -> Any:
    """MSE of each variant: a dot per seed, the mean and standard deviation beside them, and the published value.

    None stands for a training that diverged; the label counts these. Returns a matplotlib figure.
    """
    import matplotlib.pyplot as plt
    import numpy as np

    figure, axis = plt.subplots(figsize=(5.5, 3.2))
    names = []
    for x, (name, values) in enumerate(errors.items()):
        there = [value for value in values if value is not None]
        axis.plot([x] * len(there), there, ".", color="0.6")
        if len(there) > 1:
            axis.errorbar(x + 0.12, np.mean(there), np.std(there, ddof=1), fmt="ko", capsize=4)
        lost = f"\n({len(values) - len(there)} of {len(values)} diverged)" if len(there) < len(values) else ""
        names.append(name.replace(" ", "\n", 1) + lost)
    axis.plot([], [], ".", color="0.6", label="ours, one seed")
    axis.plot([], [], "ko", label="ours, mean ± SD")
    axis.plot(np.arange(len(published)) - 0.12, published, "kD", mfc="none", label="paper")
    axis.set_xticks(range(len(names)), names)
    axis.margins(y=0.1)
    axis.set(ylabel="MSE", xlim=(-0.5, len(names) - 0.5), ylim=(0, None))
    axis.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    return figure


def leak_curves(curves: dict[str, Sequence[Sequence[tuple[int, float]]]]) -> Any:
    """Leak factors against the optimiser step: a panel per variant, a line per seed. Returns a matplotlib figure."""
    figure, axes = _panels(len(curves), 5, 1.6)
    for axis, (name, seeds) in zip(axes, curves.items(), strict=False):
        for curve in seeds:
            axis.plot(*zip(*curve, strict=True), color="black", linewidth=1)
        axis.set_title(textwrap.fill(name, 24), fontsize=8)
    figure.supxlabel("optimiser step", fontsize=9)
    figure.supylabel("leak factor", fontsize=9)
    figure.tight_layout(pad=0.6)
    return figure


def _panels(count: int, columns: int, height: float) -> tuple[Any, Any]:
    """A figure of small panels with one common vertical scale, each `height` inches high -> it and its axes."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    rows = max(1, -(-count // columns))
    figure, axes = plt.subplots(rows, columns, figsize=(9, height * rows), sharey=True, squeeze=False)
    for axis in axes.flat[:count]:
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axis.tick_params(labelsize=7)
    for axis in axes.flat[count:]:
        axis.set_axis_off()
    return figure, axes.flat


def loss_curves(
    curves: dict[str, Sequence[float]], columns: int = 4, restarts: Mapping[str, Sequence[int]] | None = None
) -> Any:
    """Training loss against the optimiser step, one small panel per run, one common scale. Returns a matplotlib figure.

    A thin line for every step, a thick one for the mean of the last 50; a dashed one where a further run begins, after
    the steps in `restarts`. Losses above 1 leave the panel.
    """
    import numpy as np

    figure, axes = _panels(len(curves), columns, 1.7)
    for axis, (name, losses) in zip(axes, curves.items(), strict=False):
        steps, values = np.arange(1, len(losses) + 1), np.asarray(losses)
        total = np.concatenate([[0], values.cumsum()])
        width = np.minimum(steps, 50)
        axis.plot(steps, values, color="0.75", linewidth=0.4, rasterized=True)
        axis.plot(steps, (total[steps] - total[steps - width]) / width, color="black", linewidth=1.2, rasterized=True)
        for step in (restarts or {}).get(name, ()):
            axis.axvline(step, color="tab:blue", linewidth=0.6, linestyle="--", zorder=0)
        axis.set_title(name, fontsize=8)
        axis.set_yscale("log")
    figure.axes[0].set_ylim(top=1)
    figure.supxlabel("optimiser step", fontsize=9)
    figure.supylabel("MSE of the batch", fontsize=9)
    figure.tight_layout(pad=0.6)
    return figure


def sweeps(lines: dict[str, dict[str, Sequence[tuple[float, float, float]]]]) -> Any:
    """Time above and memory below, per sample and step; one column per swept size. Returns a matplotlib figure.

    lines: name of the size -> variant -> (size, milliseconds, MiB).
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(lines), figsize=(8, 4.6), sharex="col", sharey="row", squeeze=False)
    for column, (name, variants) in zip(axes.T, lines.items(), strict=True):
        for (variant, points), style in zip(variants.items(), ("o-", "s--", "^:", "d-.", "v-"), strict=False):
            sizes, times, memories = zip(*points, strict=True)
            column[0].plot(sizes, times, style, label=variant, markersize=4)
            column[1].plot(sizes, memories, style, markersize=4)
        for axis in column:
            axis.set_xscale("log", base=2)
            axis.set_yscale("log")
            axis.set_xticks(sizes, [f"{size:g}" for size in sizes])
            axis.minorticks_off()
        column[1].set_xlabel(name)
    axes[0, 0].set_ylabel("ms per sample and step", fontsize=8)
    axes[1, 0].set_ylabel("MiB per sample and step", fontsize=8)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="upper center", ncol=5, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.94))
    return figure


def image_rows(
    rows: Sequence[tuple[str, Tensor]],
    corners: Mapping[int, Sequence[str]] | None = None,
    outlines: Mapping[int, Tensor] | None = None,
) -> Any:
    """Figs 5 to 7: labelled rows of images, each (N, 3 or 4, H, W). Returns a matplotlib figure.

    By the row's number, `corners`: words in the corner of each image; `outlines`: cells to draw a line round (N, H, W).
    """
    import matplotlib.pyplot as plt

    columns = max(len(images) for _, images in rows)
    label = 0.2 + 0.085 * max(len(name) for name, _ in rows)  # inches
    width, height = 0.8 * columns + label, 0.8 * len(rows)
    figure, axes = plt.subplots(len(rows), columns, figsize=(width, height), squeeze=False)
    for line, (name, images) in zip(axes, rows, strict=True):
        for axis, image in zip(line, images, strict=False):
            axis.imshow(over_white(image).clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
        for axis in line:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    for row, words in (corners or {}).items():
        for axis, word in zip(axes[row], words, strict=False):
            axis.text(0.03, 0.97, word, transform=axis.transAxes, fontsize=7, va="top")
    for row, masks in (outlines or {}).items():
        for axis, cells in zip(axes[row], masks, strict=False):
            _outline(axis, cells)
    figure.subplots_adjust(left=label / width, right=0.997, top=0.995, bottom=0.005, wspace=0.05, hspace=0.05)
    return figure
