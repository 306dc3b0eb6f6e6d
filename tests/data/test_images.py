"""Folders of images by class: sizes, colours and parts as in the files, or a one-line error."""

import numpy as np
import PIL.Image
import pytest

from jaxresearch import data
from jaxresearch.data import memory

GENERATOR = np.random.default_rng(0)


def save(path, mode="RGB", size=(6, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = {"L": (), "RGB": (3,), "RGBA": (4,), "LA": (2,)}.get(mode, (3,))
    pixels = GENERATOR.integers(0, 256, (size[1], size[0], *channels)).astype(np.uint8)
    image = PIL.Image.fromarray(pixels)
    (image if image.mode == mode else image.convert(mode)).save(path)
    return pixels


@pytest.fixture
def folder(tmp_path):
    """Ten images of cats and ten of dogs."""
    for name in ("cat", "dog"):
        for i in range(10):
            save(tmp_path / "pets" / name / f"{i}.png")
    return tmp_path / "pets"


def test_images_are_read_by_class_and_divided(folder):
    first = save(folder / "cat" / "0.png")
    (folder / "cat" / ".DS_Store").write_bytes(b"x")
    dataset = data.load(str(folder))
    assert dataset.card.class_names == ("cat", "dog") and dataset.card.feature_shape == (4, 6, 3)
    assert np.bincount(dataset.test["targets"]).tolist() == [2, 2] and dataset.train["inputs"].dtype == np.uint8
    whole = [*dataset.train["inputs"], *dataset.test["inputs"]]
    assert any(np.array_equal(first, one) for one in whole)
    assert dataset.card.target.note == "names of folders: classes" and dataset.card.notes == ()
    assert data.load(str(folder)).card.sha256 == dataset.card.sha256
    save(folder / "cat" / "0.png")
    assert data.load(str(folder)).card.sha256 != dataset.card.sha256


def test_parts_of_a_folder_are_kept(tmp_path):
    for part, n in (("train", 6), ("val", 2), ("test", 3)):
        for name in ("a", "b"):
            for i in range(n):
                save(tmp_path / part / name / f"{i}.JPG", "L")
    dataset = data.load(str(tmp_path))
    assert {name: part["inputs"].shape for name, part in dataset.parts().items()} == {
        "train": (12, 4, 6, 1),
        "validation": (4, 4, 6, 1),
        "test": (6, 4, 6, 1),
    }
    with pytest.raises(ValueError, match="has a test part of its own"):
        data.load(str(tmp_path), split=data.Split(fraction=0.5))


def test_grey_and_coloured_images_become_coloured_with_a_note(folder):
    save(folder / "cat" / "grey.png", "L")
    save(folder / "dog" / "clear.png", "RGBA")
    card = data.load(str(folder)).card
    assert card.feature_shape == (4, 6, 3)
    assert card.notes[:2] == (
        "grey images were read as red, green and blue, as others have colours",
        "transparency was left out",
    )


def test_images_of_several_sizes_are_resized_when_asked(folder):
    save(folder / "cat" / "large.png", size=(60, 40))
    with pytest.raises(
        ValueError, match="must have the same size, got 0.png of 6 x 4 and large.png of 60 x 40. Pass --image-size"
    ):
        data.load(str(folder))
    dataset = data.load(str(folder), image_size=8)
    assert dataset.train["inputs"].shape[1:] == (8, 8, 3)
    assert dataset.card.notes == ("images were resized from 2 sizes to 8 x 8",)


def test_resizing_is_antialiased(tmp_path):
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    for name in ("a", "b"):
        for i in range(2):
            path = tmp_path / name / f"{i}.png"
            path.parent.mkdir(exist_ok=True)
            PIL.Image.fromarray(stripes).save(path)
    pixels = data.load(str(tmp_path), image_size=8).train["inputs"]
    assert np.abs(pixels.astype(int) - 127).max() < 32  # the mean of black and white, except at the border


@pytest.mark.raises
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder: (folder / "cat" / "notes.txt").write_text("x"),
            "cat must hold only PNG and JPEG files, got notes.txt",
        ),
        (lambda folder: (folder / "empty").mkdir(), "empty must hold only PNG and JPEG files, got none"),
        (lambda folder: save(folder / "loose.png"), "every image must be in the folder of its class, got .*loose.png"),
        (lambda folder: save(folder / "cat" / "deep" / "0.png"), "cat must hold only PNG and JPEG files, got deep"),
        (lambda folder: (folder / "cat" / "0.png").write_bytes(b"nothing"), "0.png must be an intact PNG or JPEG file"),
        (
            lambda folder: (folder / "cat" / "0.png").write_bytes((folder / "cat" / "0.png").read_bytes()[:-40]),
            "0.png must be an intact PNG or JPEG file, got a damaged one",
        ),
        (lambda folder: save(folder / "train" / "cat" / "0.png"), "must hold the parts train, test and val, got cat"),
        (
            lambda folder: PIL.Image.fromarray(np.zeros((4, 6), np.uint16)).save(folder / "cat" / "0.png"),
            "0.png must have 8 bits per channel, got mode I;16",
        ),
    ],
)
def test_wrong_folders_are_refused_in_one_line(folder, spoil, message):
    spoil(folder)
    with pytest.raises(ValueError, match=message) as caught:
        data.load(str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.raises
def test_images_beyond_memory_are_refused_before_decoding(folder, monkeypatch):
    monkeypatch.setattr(memory, "of_machine", lambda: 100.0)
    with pytest.raises(ValueError, match="must fit into memory .* Pass a smaller --image-size"):
        data.load(str(folder))


@pytest.mark.raises
def test_options_of_other_sources_are_refused(folder):
    for options in ({"target": "a"}, {"types": {"a": "drop"}}, {"stream": True}, {"test": "a.csv"}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} must come with .*Leave it out"):
            data.load(str(folder), **options)
    with pytest.raises(ValueError, match="image_size must come with a folder of images, got 8 for mnist"):
        data.load("mnist", image_size=8)
    with pytest.raises(ValueError, match="targets of pets must be numbers for regression, got classes"):
        data.load(str(folder), task="regression")
