"""The images: sizes of the subsets, premultiplication, pictures of one's own, broken input."""

import errno
import io
import os
import pickle
import random
import shutil
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import requests
import torch
from PIL import Image

from ncamlib import data
from ncamlib.data import noto, sprites
from ncamlib.data.cifar import CIFAR10_CLASSES, CIFAR10_SOURCES
from ncamlib.data.pictures import load_image, save_growth
from ncamlib.errors import NcamError

SIZES = {"chars": 96, "emos": 103, "heads": 858, "variety": 684, "full": 2948, "heldout": 606}


@pytest.mark.parametrize(("subset", "count"), SIZES.items())
def test_subsets_have_the_stated_sizes(subset, count):
    images = data.emoji(subset, 16)
    assert images.pixels.shape == (count, 4, 16, 16)
    assert len(set(images.names)) == len(set(images.sequences)) == count


def test_heldout_shares_nothing_with_full():
    assert not set(sprites.members("full")) & set(sprites.members("heldout"))


@pytest.mark.parametrize("size", [64, 32, 16])
def test_emoji_are_premultiplied_and_bounded(size):
    pixels = data.emoji("variety", size).pixels
    assert pixels.dtype == torch.float32
    assert 0 <= pixels.min() <= pixels.max() <= 1
    assert (pixels[:, :3] <= pixels[:, 3:] + 1e-6).all(), "a colour above its alpha is not premultiplied"
    assert (pixels[:, 3, 0, 0] == 0).float().mean() > 0.5, "corners are transparent"


def test_smaller_sizes_are_area_averages():
    large, small = data.emoji("emos", 64).pixels, data.emoji("emos", 16).pixels
    torch.testing.assert_close(large.mean((2, 3)), small.mean((2, 3)))


def test_unknown_subset_and_size_list_the_choices():
    with pytest.raises(NcamError, match="unknown emoji subset 'flags': choose one of chars, emos"):
        data.emoji("flags")
    with pytest.raises(NcamError, match="16, 32, 64"):
        data.emoji("chars", 48)
    with pytest.raises(NcamError, match=r"unknown dataset 'mnist'.*cifar10"):
        data.load("mnist", 64)


def test_emoji_are_found_by_themselves_name_or_code_points():
    images = data.emoji("emos", 16)
    assert images.index("😀") == images.index("1f600") == images.index("grinning_face")
    with pytest.raises(NcamError, match=r"'grinning' is not among.*grinning_face"):
        images.index("grinning")


def test_single_emoji_is_a_dataset():
    lizard = data.load("lizard", 32)
    assert lizard.pixels.shape == (1, 4, 32, 32)
    assert lizard.sequences == ["1f98e"]


def test_digest_follows_the_pixels():
    images = data.emoji("chars", 16)
    same = data.Images("other name", images.pixels.clone(), images.names)
    assert images.digest == same.digest
    changed = data.Images("chars", images.pixels.flip(0), images.names)
    assert images.digest != changed.digest


def test_sheet_inverts_sprites():
    tiles = sprites.sprites()[:70]
    sheet = np.asarray(sprites.sprite_sheet(tiles))
    assert sheet.shape == (128, 60 * 64, 4)
    assert (sheet[64:, 64:128] == tiles[61]).all()


@pytest.mark.skipif(noto.system_font() is None, reason="NotoColorEmoji is not installed")
def test_shipped_sprites_equal_a_rebuild_from_the_font():
    rows = sprites.manifest()
    rebuilt = noto.build_sprites(noto.find_font(), [row["sequence"] for row in rows])
    assert sprites.sprites_digest(rebuilt) == sprites.sprites_digest(sprites.sprites())


def test_font_without_bitmaps_is_named(tmp_path):
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef"])
    builder.setupCharacterMap({})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph()})
    builder.setupHorizontalMetrics({".notdef": (500, 0)})
    builder.setupHorizontalHeader()
    builder.setupPost()
    builder.setupOS2()
    builder.setupNameTable({})
    builder.save(tmp_path / "plain.ttf")
    with pytest.raises(NcamError, match=r"plain.ttf has no CBDT table.*fonts-noto-color-emoji"):
        noto.build_sprites(tmp_path / "plain.ttf", ["1f600"])
    (tmp_path / "text.ttf").write_text("not a font")
    with pytest.raises(NcamError, match="not a TrueType font"):
        noto.build_sprites(tmp_path / "text.ttf", ["1f600"])
    with pytest.raises(NcamError, match="there is no font file"):
        noto.find_font(tmp_path / "absent.ttf")


def test_foreign_download_is_refused(tmp_path, monkeypatch):
    wrong = tmp_path / "font.ttf"
    wrong.write_bytes(b"something else")
    monkeypatch.setattr("pooch.retrieve", lambda *_, **__: str(wrong))
    with pytest.raises(NcamError, match=r"not NotoColorEmoji v2\.042"):
        noto.download_font()
    assert not wrong.exists()


def test_git_blob_hash():
    assert noto.git_blob_hash(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"


@pytest.fixture
def folder(tmp_path):
    """Pictures of several sizes and modes, one of them broken."""
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.jpg")
    Image.new("RGBA", (100, 50), (0, 255, 0, 128)).save(tmp_path / "b.png")
    Image.new("L", (10, 10), 200).save(tmp_path / "c.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    return tmp_path


def test_folder_is_a_dataset(folder):
    said = []
    images = data.folder(folder, say=said.append)
    assert images.names == ["a.jpg", "b.png", "c.png"]
    assert images.pixels.shape == (3, 4, 64, 64)
    assert said == [
        f"1 other files in {folder} were ignored",
        f"2 of 3 pictures in {folder} were resized to 64x64",
    ]
    assert images.pixels[0, 3].min() == 1, "a JPEG is opaque"
    green = images.pixels[1, :, 32, 32]
    torch.testing.assert_close(green, torch.tensor([0, 128 / 255, 0, 128 / 255]), atol=2e-3, rtol=0)
    assert images.pixels[1, 3, 0, 0] == 0, "a wide picture is padded to a square"
    assert data.folder(folder, 32, 3, say=said.append).pixels.shape == (3, 3, 32, 32)


def test_broken_picture_is_named_and_refused_or_skipped(folder):
    shutil.copy(folder / "notes.txt", folder / "broken.png")
    with pytest.raises(NcamError, match=r"broken.png is not a picture.*--skip-broken"):
        data.folder(folder)
    said = []
    assert len(data.folder(folder, skip_broken=True, say=said.append)) == 3
    assert any("broken.png" in line for line in said)


RAMP = np.linspace(0, 65535, 64 * 64).round().astype(np.uint16).reshape(64, 64)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_not_clipped(tmp_path, suffix):
    Image.fromarray(RAMP).save(tmp_path / f"ramp.{suffix}")
    grey = data.load_image(tmp_path / f"ramp.{suffix}", 64)[0][0]
    torch.testing.assert_close(grey, torch.from_numpy(RAMP / 65535).float(), atol=1 / 500, rtol=0)
    assert len(grey.unique()) == 256


def test_a_transparency_key_of_sixteen_bits(tmp_path):
    Image.fromarray(np.where(RAMP < 30000, 1234, RAMP).astype(np.uint16)).save(tmp_path / "k.png", transparency=1234)
    alpha = data.load_image(tmp_path / "k.png", 64)[0][3]
    assert (alpha == torch.from_numpy((RAMP >= 30000).astype(np.float32))).all()


def test_numbers_without_a_known_white_are_refused(tmp_path):
    Image.fromarray((RAMP / 100).astype(np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(NcamError, match=r"has values from 0 to 655\.35, with no known white"):
        data.load_image(tmp_path / "f.tif", 64)
    Image.fromarray((RAMP / 65535).astype(np.float32)).save(tmp_path / "one.tif")
    assert data.load_image(tmp_path / "one.tif", 64)[0][0].mean().item() == pytest.approx(0.5, abs=1e-2)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize(("tag", "corner"), [(1, (0, 0)), (2, (0, 1)), (3, (1, 1)), (6, (0, 1)), (8, (1, 0))])
def test_pictures_are_held_upright(tmp_path, suffix, tag, corner):
    """A white corner at the top left of the stored pixels, and where it is seen."""
    stored = Image.new("RGB", (64, 64))
    stored.paste((255, 255, 255), (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = tag
    stored.save(tmp_path / f"a.{suffix}", exif=exif)
    seen = data.load_image(tmp_path / f"a.{suffix}", 2)[0][0].round()
    expected = torch.zeros(2, 2)
    expected[corner] = 1
    assert torch.equal(seen, expected)


@pytest.mark.parametrize("sides", [(1, 10_000), (100_000, 1), (3000, 2000)])
def test_thin_and_large_pictures_take_no_room(tmp_path, sides):
    Image.new("RGBA", sides, (255, 0, 0, 255)).save(tmp_path / "a.png")
    pixels, original = data.load_image(tmp_path / "a.png", 64)
    assert original == sides
    area = min(sides) / max(sides)
    assert pixels[3].mean().item() == pytest.approx(area, abs=0.02)
    assert (pixels[0] - pixels[3]).abs().max() < 1e-6


def test_the_white_of_a_tiff_is_what_its_header_says(tmp_path):
    """12 bits are kept in 16; of whole numbers of 32 bits nobody knows what is white."""
    tags = {256: 8, 257: 8, 258: 12, 259: 1, 262: 1, 273: 122, 277: 1, 278: 8, 279: 96}  # the pixels come at byte 122
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    content = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + b"\xff" * 96
    (tmp_path / "white.tif").write_bytes(content)
    assert data.load_image(tmp_path / "white.tif", 8)[0].min() > 0.99
    Image.fromarray(np.full((8, 8), 60000, np.int32)).save(tmp_path / "numbers.tif")
    with pytest.raises(NcamError, match="with no known white: save it with 8 or 16 bits"):
        data.load_image(tmp_path / "numbers.tif", 8)


def test_a_picture_of_too_many_pixels_and_what_is_no_file_are_refused(tmp_path):
    Image.new("1", (5000, 5000)).save(tmp_path / "large.png")
    with pytest.raises(NcamError, match=r"5000x5000 pixels.*scale it down"):
        data.load_image(tmp_path / "large.png", 64)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(NcamError, match="is not a file"):
        data.load_image(tmp_path / "pipe.png", 64)


def test_what_the_system_keeps_is_passed_over(folder):
    (folder / "._a.jpg").write_text("no")
    for name in ("x.png", ".thumbnails", "@eaDir"):
        (folder / name).mkdir()
        shutil.copy(folder / "c.png", folder / name / "0.png")
    for suffix in ("bmp", "gif", "tif"):
        Image.new("RGB", (64, 64)).save(folder / f"d.{suffix}")
    images = data.folder(folder, say=lambda _: None)
    assert images.names == ["a.jpg", "b.png", "c.png", "d.bmp", "d.gif", "d.tif", "x.png/0.png"]


def test_empty_and_missing_folders(tmp_path):
    with pytest.raises(NcamError, match="holds no PNG or JPEG"):
        data.folder(tmp_path)
    with pytest.raises(NcamError, match="there is no folder"):
        data.folder(tmp_path / "absent")


def test_rgb_over_white():
    clear = torch.zeros(1, 4, 2, 2)
    assert (data.over_white(clear) == 1).all()
    half = torch.tensor([0.2, 0.1, 0.0, 0.5]).view(4, 1, 1)  # premultiplied
    assert data.over_white(half).flatten().tolist() == pytest.approx([0.7, 0.6, 0.5])
    rgb = torch.rand(1, 3, 2, 2)
    assert data.over_white(rgb) is rgb


RECORDS = np.random.default_rng(0).integers(0, 256, (60, 3073), np.uint8)  # of six batches; a label comes first
RECORDS[:, 0] %= 10
BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def binary(records) -> bytes:
    """The binary archive's layout: one label byte, then 3 x 32 x 32 bytes, channel by channel."""
    return records.tobytes()


def pickled(records) -> bytes:
    """As a Python of today would write the Python archive."""
    return pickle.dumps({b"labels": records[:, 0].tolist(), b"data": records[:, 1:]}, protocol=2)


def pickled_long_ago(records) -> bytes:
    """As the Python of the time wrote it: byte strings, the array built by a function that must not be called."""

    def text(content: bytes) -> bytes:
        return b"T" + struct.pack("<I", len(content)) + content

    labels = b"".join(b"K" + bytes([label]) for label in records[:, 0].tolist())
    state = b"K\x01" + b"K\x0aM\x00\x0c\x86" + text(records[:, 1:].tobytes()) + b"t"
    data = b"cos\nsystem\n(" + text(b"exit 1") + b"tR(" + state + b"b"
    return b"\x80\x02}(" + text(b"data") + data + text(b"labels") + b"](" + labels + b"eu."


LAYOUTS = {
    "binary": ("cifar-10-batches-bin", ".bin", binary),
    "python": ("cifar-10-batches-py", "", pickled),
    "python 2": ("cifar-10-batches-py", "", pickled_long_ago),
}


@pytest.fixture(params=LAYOUTS)
def archive(request, tmp_path):
    """The official archive, in little."""
    folder, suffix, layout = LAYOUTS[request.param]
    with tarfile.open(tmp_path / "cifar.tar.gz", "w:gz") as tar:
        for i, name in enumerate(BATCHES):
            content = layout(RECORDS[10 * i : 10 * i + 10])
            member = tarfile.TarInfo(f"{folder}/{name}{suffix}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return tmp_path / "cifar.tar.gz"


@pytest.mark.parametrize("way", ["packed", "unpacked", "folder of batches", "downloaded"])
def test_cifar10_archives(archive, tmp_path, monkeypatch, way):
    given = archive
    if way in ("unpacked", "folder of batches"):
        with tarfile.open(archive) as tar:
            tar.extractall(tmp_path / "out", filter="data")
        given = tmp_path / "out" if way == "unpacked" else next((tmp_path / "out").iterdir())
    if way == "downloaded":
        monkeypatch.setattr("pooch.retrieve", lambda *_, **__: str(archive))
        given = None
    images = data.load("cifar10", 32, 3, given)
    assert images.pixels.shape == (50, 3, 32, 32)
    expected = torch.from_numpy(RECORDS[:50, 1:].reshape(-1, 3, 32, 32)).float() / 255
    assert torch.equal(images.pixels, expected)
    assert images.names[7] == f"{CIFAR10_CLASSES[RECORDS[7, 0]]}-7"
    test = data.load("cifar10-test", 32, 3, given)
    assert torch.equal(test.pixels, torch.from_numpy(RECORDS[50:, 1:].reshape(-1, 3, 32, 32)).float() / 255)


def test_damaged_cifar10_archives_are_one_sentence(archive, tmp_path):
    whole, chance = archive.read_bytes(), random.Random(0)
    file = tmp_path / "damaged.tar.gz"
    for _ in range(40):
        cut = bytearray(whole[: chance.randrange(len(whole))])
        for _ in range(3):
            if cut:
                cut[chance.randrange(len(cut))] = chance.randrange(256)
        file.write_bytes(cut)
        with pytest.raises(NcamError, match=r"neither the binary nor the Python archive of CIFAR-10.*get it again"):
            data.cifar10(file)
    with pytest.raises(NcamError, match="nor the Python archive"):
        data.cifar10(tmp_path / "absent")


def test_a_batch_of_cifar10_that_was_copied_in_part_is_refused(tmp_path):
    """Also where it ends with a whole picture."""
    for i, name in enumerate(BATCHES):
        (tmp_path / f"{name}.bin").write_bytes(binary(RECORDS[10 * i : 10 * i + (4 if i == 2 else 10)]))
    with pytest.raises(NcamError, match="damaged"):
        data.cifar10(tmp_path)


def test_an_archive_of_something_else_is_one_sentence(tmp_path):
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("readme.txt"))
    with pytest.raises(NcamError, match="neither the binary nor the Python archive of CIFAR-10: get it again"):
        data.load("cifar10", 32, 3, tmp_path / "other.tar.gz")


def test_more_than_one_source_is_tried(archive, monkeypatch):
    tried = []

    def first_is_down(url, *_, **__):
        tried.append(url)
        if len(tried) == 1:
            raise requests.ConnectionError
        return str(archive)

    monkeypatch.setattr("pooch.retrieve", first_is_down)
    assert len(data.cifar10()) == 50
    assert tried == list(CIFAR10_SOURCES)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (requests.ConnectionError(), r"could not download CIFAR-10 \(www.cs.toronto.edu: Conn.*network.*--data-dir"),
        (ConnectionError(), r"could not download CIFAR-10.*check the network"),
        (ValueError("MD5"), r"could not download CIFAR-10.*a different file"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            r"could not save CIFAR-10 in .*No space left.*XDG_CACHE_HOME",
        ),
        (PermissionError(errno.EACCES, "Permission denied"), r"could not save CIFAR-10 in .*Permission denied"),
    ],
    ids=["offline", "offline too", "another file", "full disk", "no permission"],
)
def test_a_fault_of_the_disk_is_not_one_of_the_network(monkeypatch, fault, said):
    def fail(*_, **__):
        raise fault

    monkeypatch.setattr("pooch.retrieve", fail)
    with pytest.raises(NcamError, match=said):
        data.cifar10()


@pytest.mark.parametrize(
    "spelled",
    [
        "🦎",
        " 🦎 ",
        "🦎\ufe0f",
        "🦎\ufe0e",
        "lizard",
        "Lizard",
        ":lizard:",
        "U+1F98E",
        "u+1f98e",
        "0x1F98E",
        "&#x1F98E;",
    ],
)
def test_an_emoji_is_found_however_spelled(spelled):
    assert data.single(spelled).names == ["lizard"]


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        ("1⃣", "keycap_1"),
        ("1️⃣", "keycap_1"),
        ("0031 20e3", "keycap_1"),
        ("🅰", "A_button_(blood_type)"),
        ("🅰︎", "A_button_(blood_type)"),
        ("a button blood type", "A_button_(blood_type)"),
        ("U+1F468 U+200D U+1F680", "man_astronaut"),
        ("1f468-200d-1f680", "man_astronaut"),
        ("\\U0001F468\\u200d\\U0001F680", "man_astronaut"),
        ("police officer", "police_officer"),
        ("Police-Officer", "police_officer"),
        ("#", "number_sign"),
    ],
)
def test_sequences_and_names_are_found_however_spelled(spelled, name):
    assert data.single(spelled).names == [name]


def test_every_emoji_is_found_without_its_selectors():
    images = data.emoji("full", 16)
    for name, emoji in zip(images.names, images.emoji, strict=True):
        bare = emoji.replace("\ufe0f", "")
        assert images.names[images.index(bare)] == name
        assert images.names[images.index(name.replace("_", " ").upper())] == name


@pytest.mark.parametrize(
    ("key", "offered"),
    [("lizzard", "lizard"), ("police man", "police"), ("🏴‍☠", "skull_and_crossbones"), ("flag: Germany", "flag")],
)
def test_suggestions_help(key, offered):
    with pytest.raises(NcamError, match=f"choose for example [^()]*{offered}"):
        data.emoji("full", 16).index(key)


def test_without_a_suggestion_there_is_no_noise():
    with pytest.raises(NcamError, match="of 'full': 'ncam data info --names full' lists them"):
        data.emoji("full", 16).index("qqqq")


def test_advice_on_pictures_of_ones_own_names_them(tmp_path):
    for name in ("naïve.png", "z.png"):
        Image.new("RGB", (16, 16), "red").save(tmp_path / name)
    images = data.folder(str(tmp_path), 16)
    with pytest.raises(NcamError, match=r"choose for example naïve.png, z.png$"):
        images.index("absent")


@pytest.mark.parametrize("name", ["chars", "cifar10", "lizard", "mine"])
def test_a_folder_is_never_taken_for_images_that_ship(tmp_path, name):
    (tmp_path / name).mkdir()
    Image.new("RGB", (16, 16), "red").save(tmp_path / name / "a.png")
    images = data.load("emos", 16, 4, str(tmp_path / name))
    assert not data.known(images.name)
    assert images.name.endswith(name)


def test_names_that_are_not_utf8(tmp_path):
    folder = os.fsencode(tmp_path) + b"/p\xe4ts"
    os.mkdir(folder)
    Image.new("RGB", (16, 16), "red").save(os.fsdecode(folder + b"/l\xf6we.png"))
    images = data.folder(Path(os.fsdecode(folder)), 16)
    assert images.names == ["l\\xf6we.png"]
    assert images.name == "p\\xe4ts"
    assert len(images.digest) == 64


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", []),
        ("a b", ["a", "b"]),
        ("police officer, cat", ["police officer", "cat"]),
        ('["🆗","💯"]', ["🆗", "💯"]),
        ("('a', 'b')", ["a", "b"]),
        (["a", 3], ["a", "3"]),
        ("[]", []),
    ],
)
def test_lists_in_strings(text, items):
    assert data.listed(text) == items


def test_an_enlarged_picture_stays_premultiplied(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (8, 8, 4), dtype=np.uint8)
    Image.fromarray(values, "RGBA").save(tmp_path / "small.png")
    pixels, _ = load_image(tmp_path / "small.png", 64)
    assert (pixels[:3] <= pixels[3:]).all()


def test_an_animation_has_a_frame(tmp_path):
    with pytest.raises(NcamError, match="there is no frame"):
        save_growth(tmp_path / "growth.gif", torch.zeros(0, 4, 8, 8))


def test_sets_of_images_are_compared_by_what_they_are():
    one, same = data.emoji("emos", 16), data.emoji("emos", 16)
    assert one == one
    assert one != same
    assert one.digest == same.digest
    assert len({one, same}) == 2


@pytest.mark.parametrize("size", [8, 4])
def test_what_is_half_transparent_is_premultiplied_and_rgb_is_over_white(tmp_path, size):
    Image.new("RGBA", (8, 8), (200, 100, 50, 128)).save(tmp_path / "half.png")
    alpha, colour = 128 / 255, [200 / 255, 100 / 255, 50 / 255]
    pixels, _ = load_image(tmp_path / "half.png", size)
    assert pixels.mean((1, 2)).tolist() == pytest.approx([*(alpha * c for c in colour), alpha], abs=0.003)
    over, _ = load_image(tmp_path / "half.png", size, 3)
    assert over.mean((1, 2)).tolist() == pytest.approx([1 - alpha + alpha * c for c in colour], abs=0.003)


def test_a_smaller_picture_is_an_average_of_areas(tmp_path):
    board = 255 * (np.indices((8, 8)).sum(0) % 2).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "board.png")
    pixels, _ = load_image(tmp_path / "board.png", 4)
    assert pixels[:3].flatten().tolist() == pytest.approx([0.5] * 48, abs=0.01)
