"""What `save_figure` keeps, replaces and leaves alone."""

import io

import pytest
import torch
from PIL import Image

from ncamlib.chapters import figures
from ncamlib.model.damage import disc


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A checkout with nothing in it; the current folder is that of its chapters."""
    (tmp_path / "_toc.yml").touch()
    (tmp_path / "book").mkdir()
    monkeypatch.setenv("NCAM_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "book")
    return tmp_path


def line(height):
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(2, 1))
    axis.plot([0, 1], [0, height], color="black")
    axis.set(ylim=(0, 1))
    plt.close(figure)
    return figure


def saved(book):
    return {file.name: file.read_bytes() for file in (book / "figures").iterdir()}


def test_a_figure_is_saved_twice_with_its_parameters(book):
    figures.save_figure(line(0.5), "one", {"seed": 3, "emoji": "💯"})
    assert set(saved(book)) == {"one.png", "one.svg"}
    assert figures.picture_parameters(saved(book)["one.png"]) == {"seed": 3, "emoji": "💯"}
    assert '"seed": 3' in saved(book)["one.svg"].decode()


def test_a_figure_of_pictures_is_saved_as_pixels_only(book):
    drawn = line(0.5)
    drawn.axes[0].imshow([[0, 1]])
    figures.save_figure(drawn, "one", {})
    assert set(saved(book)) == {"one.png"}


@pytest.mark.parametrize(
    ("height", "parameters", "replaced"),
    [(0.5, {"seed": 3}, False), (0.50001, {"seed": 3}, False), (0.9, {"seed": 3}, True), (0.50001, {"seed": 4}, True)],
)
def test_a_figure_is_replaced_when_a_reader_would_see_it(book, height, parameters, replaced):
    figures.save_figure(line(0.5), "one", {"seed": 3})
    before = saved(book)
    figures.save_figure(line(height), "one", parameters)
    assert [saved(book)[name] != before[name] for name in before] == [replaced, replaced]


@pytest.mark.parametrize(("name", "content"), [("one.png", b"broken"), ("one.png", None), ("one.svg", None)])
def test_a_lost_figure_is_written_again(book, name, content):
    figures.save_figure(line(0.5), "one", {})
    before = saved(book)
    (book / "figures" / name).unlink()
    if content is not None:
        (book / "figures" / name).write_bytes(content)
    figures.save_figure(line(0.5), "one", {})
    assert saved(book) == before


def test_a_run_elsewhere_leaves_the_figures_alone(book, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    figures.save_figure(line(0.5), "one", {})
    assert not (book / "figures").exists()


def test_the_share_of_different_pixels():
    def png(picture):
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        return buffer.getvalue()

    white = Image.new("RGB", (10, 10), "white")
    grey = white.copy()
    grey.putpixel((3, 4), (240, 240, 240))  # too little to see
    black = white.copy()
    black.putpixel((3, 4), (0, 0, 0))
    assert figures.different(png(white), png(grey)) == 0
    assert figures.different(png(white), png(black)) == pytest.approx(0.01)
    assert figures.different(png(white), png(white.resize((10, 11)))) == 1


def test_a_wound_is_outlined_where_it_is():
    """A disc is blanked in the grown cells only, and the line round it is drawn in the picture it belongs to."""
    before = torch.zeros(1, 16, 32, 32)
    before[:, :, 8:24, 8:24] = 1
    cells = figures.wound(before, disc(before, torch.tensor([0.25]), torch.tensor([0.25]), torch.tensor([0.2])))
    assert cells[0, 8, 8]
    assert not cells[0, 7, 8]  # blank before
    assert not cells[0, 20, 20]  # unharmed
    sheet = figures.image_rows([("grown", before[:, :4]), ("wounded", before[:, :4])], outlines={1: cells})
    assert [len(axis.collections) for axis in sheet.axes] == [0, 1]
    strip = figures.growth_strip(before[None, :, :4], ["wounded"], outlines={0: torch.zeros_like(cells)})
    assert not strip.axes[0].collections  # noise blanks nothing


def test_mutation_curves_have_a_panel_for_each_set():
    curves = dict.fromkeys(("full-a", "chars-b", "full-c"), ((0.0, 0.1), (1.0, 0.2)))
    panels = figures.mutation_curves(curves).axes
    assert [[text.get_text() for text in axis.get_legend().get_texts()] for axis in panels] == [
        ["full-a", "full-c"],
        ["chars-b"],
    ]
