"""The demo's picture: each selfie with its matches, their boxes and similarities."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from facepass.schemas.http.search_bodies import MatchBody

_COLUMNS = 4
_SHOWN = 24
"""Matches of one selfie at most; the table has them all."""
_CELL = (280, 200)
_SELFIE = (240, 240)
_MARGIN = 24
_CAPTION = 34
_HEAD = 44

_PAPER = (250, 250, 248)
_INK = (34, 38, 46)
_FAINT = (120, 126, 136)
_MARK = (255, 176, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """One selfie and what it found, best first. `photos` has the file of each match."""

    title: str
    selfie: Path
    matches: Sequence[MatchBody]
    photos: Sequence[Path]


def write_contact_sheet(bands: Sequence[Band], output: Path) -> None:
    """Draw all bands below each other into one PNG file."""
    width = _SELFIE[0] + _COLUMNS * (_CELL[0] + _MARGIN) + 3 * _MARGIN
    heights = [_height(band) for band in bands]
    sheet = Image.new("RGB", (width, sum(heights) + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    top = 0
    for band, height in zip(bands, heights, strict=True):
        if top:
            draw.line((_MARGIN, top, width - _MARGIN, top), fill=(222, 222, 218), width=1)
        _draw_band(sheet, draw, band, top)
        top += height
    sheet.save(output, format="PNG")


def _height(band: Band) -> int:
    rows = max(1, -(-min(len(band.matches), _SHOWN) // _COLUMNS))
    return _MARGIN + _HEAD + max(_SELFIE[1], rows * (_CELL[1] + _CAPTION)) + _MARGIN


def _draw_band(sheet: Image.Image, draw: ImageDraw.ImageDraw, band: Band, top: int) -> None:
    left, body = _MARGIN, top + _MARGIN + _HEAD
    draw.text((left, top + _MARGIN), band.title, fill=_INK, font=_font(26))
    found = f"{len(band.matches)} photos found"
    if len(band.matches) > _SHOWN:
        found += f", the best {_SHOWN} shown"
    draw.text((left + _SELFIE[0] + 2 * _MARGIN, top + _MARGIN + 6), found, fill=_FAINT, font=_font(18))
    sheet.paste(ImageOps.fit(_open(band.selfie), _SELFIE), (left, body))
    for place, (match, photo) in enumerate(zip(band.matches[:_SHOWN], band.photos[:_SHOWN], strict=True)):
        row, column = divmod(place, _COLUMNS)
        x = left + _SELFIE[0] + 2 * _MARGIN + column * (_CELL[0] + _MARGIN)
        y = body + row * (_CELL[1] + _CAPTION)
        sheet.paste(_marked(_open(photo), match), (x, y))
        draw.text((x, y + _CELL[1] + 4), f"{match.similarity:.2f}", fill=_INK, font=_font(18))
        draw.text((x + 48, y + _CELL[1] + 6), _short(match.photo_id), fill=_FAINT, font=_font(15))


def _marked(photo: Image.Image, match: MatchBody) -> Image.Image:
    """The photo in its cell, the matched face framed."""
    scale = min(_CELL[0] / photo.width, _CELL[1] / photo.height)
    small = photo.resize((max(1, round(photo.width * scale)), max(1, round(photo.height * scale))))
    cell = Image.new("RGB", _CELL, (238, 238, 234))
    x, y = (_CELL[0] - small.width) // 2, (_CELL[1] - small.height) // 2
    cell.paste(small, (x, y))
    box = match.box
    corners = (box.x, box.y, box.x + box.width, box.y + box.height)
    left, upper, right, lower = (round(value * scale) for value in corners)
    ImageDraw.Draw(cell).rectangle((x + left, y + upper, x + right, y + lower), outline=_MARK, width=3)
    return cell


def _open(path: Path) -> Image.Image:
    """The photo as FacePass sees it: upright by its EXIF orientation, so that boxes fit."""
    with Image.open(path) as picture:
        return ImageOps.exif_transpose(picture).convert("RGB")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _short(photo_id: str, limit: int = 26) -> str:
    return photo_id if len(photo_id) <= limit else f"{photo_id[: limit - 1]}…"
