"""What Chromium's fake camera sees: MJPEG files made of one picture each."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageEnhance

from facepass.local.sample_files import group_file, scikit_image_file

FRAME = (1280, 960)
_FRAMES = 4
_FACE_CENTRE, _FACE_WIDTH = (227, 118), 86
"""Of the astronaut's face, in the picture of 512 x 512."""


def portrait(width: int) -> Image.Image:
    """The astronaut, with a face of `width` pixels where the page's outline is."""
    factor = width / _FACE_WIDTH
    with Image.open(scikit_image_file()) as file:
        astronaut = file.convert("RGB")
    astronaut = astronaut.resize((round(512 * factor), round(512 * factor)), Image.Resampling.BICUBIC)
    frame = Image.new("RGB", FRAME, (150, 150, 150))
    x, y = FRAME[0] // 2, round(FRAME[1] * 0.48)
    frame.paste(astronaut, (round(x - _FACE_CENTRE[0] * factor), round(y - _FACE_CENTRE[1] * factor)))
    return frame


def group() -> Image.Image:
    """Two of the people at the table, side by side within what the page's stage shows."""
    with Image.open(group_file()) as file:
        return file.convert("RGB").crop((576, 0, 1176, 450)).resize(FRAME, Image.Resampling.BICUBIC)


def nobody() -> Image.Image:
    with Image.open(scikit_image_file("coffee.png")) as file:
        return file.convert("RGB").resize(FRAME)


CAMERAS: dict[str, Callable[[], Image.Image]] = {
    "astronaut": lambda: portrait(300),
    "far": lambda: portrait(120),
    "dark": lambda: ImageEnhance.Brightness(portrait(300)).enhance(0.2),
    "several": group,
    "nobody": nobody,
}


def write_camera(name: str, directory: Path) -> Path:
    """The MJPEG file of one camera: JPEGs one after the other."""
    path = directory / f"{name}.mjpeg"
    still = directory / f"{name}.jpg"
    CAMERAS[name]().save(still, quality=92)
    path.write_bytes(still.read_bytes() * _FRAMES)
    return path
