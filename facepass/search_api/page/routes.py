"""GET /sessions/{id}/interface, and the files behind it.

The document is the same for every guest of a session and says nothing that a guest may not know, so it needs no
token; its script checks the session and sends the guest's token with every request.
"""

import hashlib
import html
import json
from http import HTTPStatus
from string import Template
from typing import Annotated, Any
from urllib.parse import urlsplit

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Response
from fastapi.responses import HTMLResponse

from facepass.schemas.error_table import ERROR_TABLE
from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.settings import PageSettings
from facepass.search_api.access import GuestDoor
from facepass.search_api.http import SessionInPath, documented
from facepass.search_api.page.assets import DETECTOR, LANGUAGES, Assets, detector_weights, media_type, read_assets

_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"
_ASSET_POLICY = "default-src 'none'; script-src 'self'; frame-ancestors 'none'"

_Languages = Annotated[str, Header(alias="accept-language", description="`ru` or `en`, by preference")]
_Known = Annotated[str, Header(alias="if-none-match", include_in_schema=False)]


def page_routes(settings: PageSettings, door: GuestDoor) -> APIRouter:
    """The page and its files."""
    assets = read_assets()
    page_headers = document_headers(settings)
    router = APIRouter()

    @router.get(
        "/sessions/{session_id:segment}/interface",
        summary="The selfie page of a session",
        tags=["page"],
        response_class=HTMLResponse,
        response_description="The page, in Russian or English",
        responses=_refused() | documented(ErrorCode.INVALID_ID),
    )
    async def interface(
        session_id: SessionInPath, accept_language: _Languages = "", known: _Known = ""
    ) -> Response:
        refused = await door.refusal_to_show(session_id)
        # for whoever calls it without a browser: the page itself finds out by its own calls
        status = HTTPStatus.OK if refused is None else ERROR_TABLE[refused.code].status
        language = preferred_language(accept_language)
        body = _document(assets, settings, session_id, language)
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        answer = page_headers | {"ETag": etag, "Content-Language": language}
        if status == HTTPStatus.OK and etag in known:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=answer)
        return HTMLResponse(body, status_code=status, headers=answer)

    @router.get("/page/{version}/{name:path}", include_in_schema=False)
    async def asset(version: str, name: str) -> Response:
        if name == DETECTOR:
            content = await run_sync(detector_weights)  # in a thread: its first use takes long
        elif name in assets.contents:
            content = assets.contents[name]
        else:
            raise PermanentError(ErrorCode.NOT_FOUND, "the page has no such file")
        # While replicas are being replaced, one may be asked for the files of another's version: its own will do,
        # but not for ever.
        cached = _FOR_EVER if version == assets.version else _ASK_AGAIN
        # A worker is under the policy that its own script comes with.
        headers = {"Cache-Control": cached, "Content-Security-Policy": _ASSET_POLICY}
        return Response(content, media_type=media_type(name), headers=headers)

    return router


def _refused() -> dict[int | str, dict[str, Any]]:
    """The same page, which says in words why the session cannot be searched."""
    page = {"text/html": {"schema": {"type": "string"}}}
    return {
        403: {
            "description": "FacePass is switched off for the session, or it was never announced",
            "content": page,
        },
        404: {"description": "Nothing is known of the session", "content": page},
    }


def _document(assets: Assets, settings: PageSettings, session_id: str, language: str) -> bytes:
    base = f"../../page/{assets.version}/"
    # ASCII, so that HTML's rules for line ends and control characters change nothing in an id
    values = {
        "session": session_id,
        "base": base,
        "languages": LANGUAGES,
        "photo_url": settings.photo_url,
        "thumbnail_url": settings.thumbnail_url or settings.photo_url,
    }
    preloads = "\n".join(f'<link rel="modulepreload" href="{base}{name}">' for name in assets.modules())
    text = Template(assets.document).substitute(
        language=language,
        title=html.escape(assets.text(language, "start.title")),
        noscript=html.escape(assets.text(language, "noscript")),
        base=base,
        preloads=preloads,
        values=html.escape(json.dumps(values)),
    )
    return text.encode()


def document_headers(settings: PageSettings) -> dict[str, str]:
    """The page's headers: the browser may do nothing with it beyond this server and the host of the photos."""
    hosts = " ".join(sorted({_origin(url) for url in (settings.photo_url, settings.thumbnail_url)} - {""}))
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "worker-src": "'self'",
        "style-src": "'self'",
        "img-src": f"'self' blob: {hosts}".rstrip(),
        "connect-src": f"'self' {hosts}".rstrip(),  # the host of the photos: a download reads them
        "media-src": "'self' blob:",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
        "Referrer-Policy": "strict-origin",  # photo hosts that look where a picture is shown see no more
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": _ASK_AGAIN,
        "Vary": "Accept-Language",
    }


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


def preferred_language(accept: str) -> str:
    """The one of ours that an Accept-Language header puts first; English if it names none."""
    weighed = []
    for position, entry in enumerate(accept.lower().split(",")):
        name, *parameters = entry.replace(" ", "").split(";")
        language = name.split("-")[0]
        weight = next((_weight(one[2:]) for one in parameters if one.startswith("q=")), 1.0)
        if language in LANGUAGES and weight > 0:
            weighed.append((-weight, position, language))
    return min(weighed)[2] if weighed else LANGUAGES[0]


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
