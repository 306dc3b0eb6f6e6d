"""Folders of images: one folder per class, with PNG and JPEG files."""

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxresearch.data import memory
from jaxresearch.data.collected import Collected
from jaxresearch.data.dataset import Column, DataCard, Split
from jaxresearch.data.parts import Part

_ENDINGS = (".png", ".jpg", ".jpeg")
_PARTS = {"train": "train", "test": "test", "val": "validation", "validation": "validation"}
_GREY = {"1", "L"}
_COLOUR = {"RGB", "RGBA", "P", "CMYK", "YCbCr", "LA", "PA", "La"}
_HIDDEN = {"thumbs.db", "desktop.ini"}


class Image(NamedTuple):
    """The header of an image file."""

    path: Path
    label: str
    size: tuple[int, int]  # width and height
    mode: str


def is_image_folder(folder: Path) -> bool:
    """Returns whether a folder has folders of images.

    Args:
        folder: The folder to search, with its subfolders.

    Returns:
        True for ``CLASS/name.png`` and ``train/CLASS/name.png``, PNG or JPEG.

    Example:
        >>> is_image_folder(Path("nowhere"))
        False
    """
    return any(_is_image(path) for depth in ("*/*", "*/*/*") for path in folder.glob(depth))


def load_images(folder: Path, *, image_size: int | None = None) -> Collected:
    """Returns the images of a folder, by class.

    ========================================  =============================
    files                                     parts
    ========================================  =============================
    ``CLASS/name.png``                        one, to be divided
    ``train/CLASS/..``, ``test/CLASS/..``     as they are; ``val`` as well
    ========================================  =============================

    Args:
        folder: Of classes, or of parts.
        image_size: Height and width to resize all images to, bilinearly and with antialiasing.

    Returns:
        uint8 ``(n, height, width, channels)``: grey if all files are, otherwise red, green and blue.

    Raises:
        ValueError: If a file is not an image, sizes differ without ``image_size``, or the images do not fit into memory.

    Example:
        >>> import tempfile, PIL.Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("cat", "dog"):
        ...     (folder / name).mkdir()
        ...     PIL.Image.new("L", (6, 4)).save(folder / name / "0.png")
        >>> parts, card = load_images(folder)
        >>> card.class_names, parts["train"]["inputs"].shape
        (('cat', 'dog'), (2, 4, 6, 1))
    """
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size must be 1 or more, got {image_size}. Pass 64.")
    found = _found(folder)
    everything = [image for images in found.values() for image in images]
    _require_one_size(everything, image_size, folder)
    is_grey = {image.mode for image in everything} <= _GREY
    width, height = (image_size, image_size) if image_size else everything[0].size
    size = len(everything) * width * height * (1 if is_grey else 3)
    memory.require_room(size, of=str(folder), remedy="Pass a smaller --image-size.")
    names = sorted({image.label for image in everything})
    sha256 = hashlib.sha256()
    parts = {part: _part(images, names, (width, height), is_grey, sha256) for part, images in found.items()}
    card = DataCard(
        name=folder.resolve().name,
        source=str(folder),
        sha256=((folder.name, sha256.hexdigest()),),
        class_names=tuple(names),
        feature_shape=(height, width, 1 if is_grey else 3),
        target=Column(name="class", kind="category", levels=tuple(names), note="names of folders: classes"),
        split=Split(fraction=None) if "test" in parts else Split(),
        notes=tuple(_notes(everything, (width, height), is_grey)),
    )
    return Collected(parts, card)


def _is_image(path: Path) -> bool:
    """Returns whether a file is an image, by its name."""
    return path.suffix.lower() in _ENDINGS and not path.name.startswith(".")


def _shown(folder: Path) -> list[Path]:
    """Returns the entries of a folder without hidden files."""
    return sorted(
        path for path in folder.iterdir() if not path.name.startswith(".") and path.name.lower() not in _HIDDEN
    )


def _found(folder: Path) -> dict[str, list[Image]]:
    """Returns the images of each part, ``train`` first."""
    folders = [path for path in _shown(folder) if path.is_dir()]
    loose = next((path for path in _shown(folder) if _is_image(path)), None)
    if loose is not None:
        raise ValueError(f"every image must be in the folder of its class, got {loose}. Move it, or delete it.")
    if not any(path.name == "train" for path in folders):
        return {"train": [image for path in folders for image in _of_class(path)]}
    odd = next((path.name for path in folders if path.name not in _PARTS), None)
    parts = [_PARTS[path.name] for path in folders if path.name in _PARTS]
    if odd is not None or len({*parts}) < len(parts):
        raise ValueError(
            f"{folder} must hold the parts train, test and val, got {odd or 'val and validation'}. Rename it."
        )
    places = sorted(folders, key=lambda path: path.name != "train")
    return {_PARTS[path.name]: _of_part(path) for path in places}


def _of_part(folder: Path) -> list[Image]:
    """Returns the images of a part."""
    loose = next((path for path in _shown(folder) if not path.is_dir()), None)
    if loose is not None:
        raise ValueError(f"every image must be in the folder of its class, got {loose}. Move it, or delete it.")
    return [image for path in _shown(folder) for image in _of_class(path)]


def _of_class(folder: Path) -> list[Image]:
    """Returns the images of a class."""
    paths = _shown(folder)
    odd = next((path for path in paths if not (path.is_file() and _is_image(path))), None)
    if odd is not None or not paths:
        raise ValueError(
            f"{folder} must hold only PNG and JPEG files, got {odd.name if odd else 'none'}. Move the others."
        )
    return [_header(path, folder.name) for path in paths]


def _header(path: Path, label: str) -> Image:
    """Returns size and colours of an image, without decoding it."""
    with _opened(path) as image:
        if image.mode not in _GREY | _COLOUR:
            raise ValueError(f"{path} must have 8 bits per channel, got mode {image.mode}. Convert it.")
        return Image(path, label, image.size, image.mode)


def _opened(path: Path) -> Any:
    """Returns an open image file."""
    import PIL.Image  # imported late: most data are not images

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)  # sizes are checked before decoding
            return PIL.Image.open(path)
    except (OSError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise ValueError(f"{path} must be an intact PNG or JPEG file, got a damaged one. Copy it again.") from error


def _require_one_size(images: Sequence[Image], image_size: int | None, folder: Path) -> None:
    """Raises if sizes differ and no size to resize to was given."""
    odd = next((image for image in images if image.size != images[0].size), None)
    if image_size is None and odd is not None:
        first, second = ("{} x {}".format(*image.size) for image in (images[0], odd))
        raise ValueError(
            f"images of {folder} must have the same size, got {images[0].path.name} of {first} and {odd.path.name} of {second}. "
            "Pass --image-size 64."
        )


def _part(images: Sequence[Image], names: Sequence[str], size: tuple[int, int], is_grey: bool, sha256: Any) -> Part:
    """Returns the pixels and classes of a part, and a digest of names and files."""
    pixels = np.empty((len(images), size[1], size[0], 1 if is_grey else 3), np.uint8)
    for place, image in enumerate(images):
        sha256.update(f"{image.label}/{image.path.name};".encode())
        sha256.update(image.path.read_bytes())
        pixels[place] = _pixels(image, size, is_grey)
    return {"inputs": pixels, "targets": np.array([names.index(image.label) for image in images], np.int32)}


def _pixels(image: Image, size: tuple[int, int], is_grey: bool) -> np.ndarray:
    """Returns the pixels of one image."""
    import PIL.Image

    with _opened(image.path) as opened:
        try:
            decoded = opened.convert("L" if is_grey else "RGB")
        except (OSError, SyntaxError) as error:
            raise ValueError(
                f"{image.path} must be an intact PNG or JPEG file, got a damaged one ({error}). Copy it again."
            ) from error
    if decoded.size != size:
        decoded = decoded.resize(size, PIL.Image.Resampling.BILINEAR)
    return np.asarray(decoded).reshape(size[1], size[0], -1)


def _notes(images: Sequence[Image], size: tuple[int, int], is_grey: bool) -> list[str]:
    """Returns what was done to the images."""
    modes, sizes = {image.mode for image in images}, {image.size for image in images}
    notes = []
    if not is_grey and modes & _GREY:
        notes.append("grey images were read as red, green and blue, as others have colours")
    if modes & {"RGBA", "LA", "PA", "La"}:
        notes.append("transparency was left out")
    if sizes != {size}:
        first = "{} x {}".format(*images[0].size) if len(sizes) == 1 else f"{len(sizes):,} sizes"
        notes.append(f"images were resized from {first} to {size[0]} x {size[1]}")
    return notes
