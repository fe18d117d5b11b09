"""The work of `facepass sessions link`: the address that a session's guests open, and its QR code."""

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import segno
from segno.encoder import DataOverflowError

from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.ids import SessionId
from facepass.schemas.settings import DatabaseSettings, PageSettings, read_settings
from facepass.search_api.access import make_token
from facepass.storage import open_database
from facepass.storage.callers import read_secret
from facepass.storage.reads import is_session_known

_LOCAL = "http://localhost:8000"
"""Where the API is for guests, if FACEPASS_PUBLIC_URL does not say."""

_KINDS = (".png", ".svg")

_QUIET_MODULES = 4
"""The light border that the standard asks for."""

_PIXELS_A_MODULE = 10
"""Sharp on a screen and in print up to about 15 cm."""


def print_link(session_id: SessionId, lifetime: timedelta, qr: Path | None) -> None:
    """Print the link of a session, and write its QR code.

    Args:
        qr: a file that ends in .png or .svg; replaced when it is there.

    Raises:
        PermanentError: `invalid_setting`: another kind of file, a link too long for a QR code, or no such folder.
        TransientError: `database_unavailable`.
    """
    if qr is not None and qr.suffix.lower() not in _KINDS:
        raise _unusable(f"--qr: {qr.name} must end in .png or .svg")
    link, known = asyncio.run(_make_link(session_id, lifetime))
    if qr is not None:
        _draw(link, qr)
    print(link)
    print(f"its token works until {datetime.now(UTC) + lifetime:%Y-%m-%d %H:%M} UTC", file=sys.stderr)
    if not known:
        print("note: nothing is known of this session yet; ids are compared letter by letter", file=sys.stderr)


async def _make_link(session_id: SessionId, lifetime: timedelta) -> tuple[str, bool]:
    async with open_database(read_settings(DatabaseSettings)) as db:
        secret = await read_secret(db)
        known = await is_session_known(db, session_id)
    base = read_settings(PageSettings).public_url.rstrip("/") or _LOCAL
    token = make_token(secret, session_id, lifetime)
    return f"{base}/api/v1/sessions/{quote(session_id, safe='')}/interface#token={token}", known


def _draw(link: str, file: Path) -> None:
    """Draw it, black on white. Error correction is as high as fits the smallest code that holds the link."""
    try:
        code = segno.make_qr(link)
        code.save(str(file), scale=_PIXELS_A_MODULE, border=_QUIET_MODULES)
    except DataOverflowError as exc:
        raise _unusable(
            f"--qr: the link has {len(link)} characters, more than a QR code holds; use a shorter session id"
        ) from exc
    except OSError as exc:
        raise _unusable(f"--qr: {file}: {exc.strerror}") from exc


def _unusable(message: str) -> PermanentError:
    return PermanentError(ErrorCode.INVALID_SETTING, message, setting="--qr")
