"""The sliders of the chapters: each one changes the picture, and a page without a kernel shows the first."""

import io

import pytest
import torch
from PIL import Image

from ncamlib import data, load_model
from ncamlib.chapters.sliders import growth_sliders, injection_sliders
from ncamlib.config import ModelConfig
from ncamlib.model import genetics
from ncamlib.model.build import build


@pytest.fixture(scope="module")
def codes():
    model, header = load_model("chars-dna-sto")
    return model, model.encode(data.emoji(header["images"]).pixels[:6])


@pytest.fixture(scope="module")
def surgery(codes):
    model, dna = codes
    return injection_sliders(model, dna[:4], dna[4:])


@pytest.fixture(scope="module")
def box():
    model, header = load_model("chars-dna-sto")
    return growth_sliders(model, data.emoji(header["images"]).pixels[0])


@pytest.mark.parametrize(("size", "bounds"), [(8, (8, 128, 8)), (20, (16, 128, 4)), (160, (16, 160, 8))])
def test_the_grid_begins_at_the_images_own_size(size, bounds):
    model = build(ModelConfig(code="dna", image_size=size, steps=2))
    grid = growth_sliders(model, torch.rand(4, size, size)).children[0].children[-1]
    assert (grid.value, grid.min, grid.max, grid.step) == (size, *bounds)


def picture(box) -> bytes:
    return box.children[1].value


@pytest.mark.parametrize(
    ("panel", "name"),
    [
        ("box", "mutation"),
        ("box", "fire rate"),
        ("box", "steps"),
        ("box", "grid"),
        ("surgery", "threshold"),
        ("surgery", "mutation"),
    ],
)
def test_every_slider_grows_another_picture_and_back(panel, name, request):
    box = request.getfixturevalue(panel)
    slider = next(c for c in box.children[0].children if c.description == name)
    before, value = picture(box), slider.value
    slider.value = slider.max if slider.value == slider.min else slider.min
    assert picture(box) != before
    slider.value = value
    assert picture(box) == before


def test_the_picture_is_the_rollout(box):
    model, header = load_model("chars-dna-sto")
    image = data.emoji(header["images"]).pixels[:1]
    generator = torch.Generator().manual_seed(0)
    weights = model.weights(image, model.draw_mutation(1, 0.5, generator))
    grown = model.nca.visible(model.grow(weights, model.config.steps, model.draw_fire(1, generator=generator)))
    with Image.open(io.BytesIO(picture(box))) as shown:
        assert shown.size == (256, 256)
        corner = shown.getpixel((130, 130))
    rgb = data.over_white(grown)[0, :, 32, 32].clamp(0, 1) * 255
    assert corner == tuple(rgb.round().int().tolist())


def test_injection_shows_the_mean_genes_and_their_carriers(surgery, codes):
    model, dna = codes
    genes = genetics.mean_genes(dna[:4], surgery.children[0].children[0].value)
    carriers = torch.cat([genes[None], genetics.inject(dna[4:], genes)])
    fire = model.draw_fire(3, generator=torch.Generator().manual_seed(0))
    grown = model.nca.visible(model.grow(model.decode(carriers), model.config.steps, fire))
    with Image.open(io.BytesIO(picture(surgery))) as shown:
        assert shown.size == (3 * 132 - 4, 128)
        pixels = [shown.getpixel((132 * i + 65, 65)) for i in range(3)]
    rgb = data.over_white(grown)[:, :, 32, 32].clamp(0, 1) * 255
    assert pixels == [tuple(row) for row in rgb.round().int().tolist()]


def test_a_page_shows_the_first_picture(box):
    bundle = box._repr_mimebundle_()
    assert bundle["text/html"].startswith('<img class="pixels" alt="')
    assert "application/vnd.jupyter.widget-view+json" in bundle
