"""The API's OpenAPI document, and the page that shows it.

The page's script and style come from an installed package, not from another host.
"""

import base64
import hashlib
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from starlette.responses import HTMLResponse

_ASSETS = "/docs/assets"


class DocumentedApp(FastAPI):
    """An application whose OpenAPI document has the examples of its bodies as they were written."""

    def openapi(self) -> dict[str, Any]:
        """The document. FastAPI leaves out every null, those inside examples too, where a null is the point."""
        document = super().openapi()
        schemas = document["components"]["schemas"]
        for model in _models(BaseModel):
            extra = model.model_config.get("json_schema_extra")
            if model.__name__ in schemas and isinstance(extra, dict) and "examples" in extra:
                schemas[model.__name__]["examples"] = extra["examples"]
        return document


def _models(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Our own bodies: the models of `facepass.schemas` that are loaded."""
    for model in base.__subclasses__():
        if model.__module__.startswith("facepass.schemas."):
            yield model
        yield from _models(model)


def documented_body(**contents: dict[str, Any]) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads its body itself.

    Args:
        contents: what OpenAPI says of each kind of body, by `json` and `form`.
    """
    kinds = {"json": "application/json", "form": "multipart/form-data"}
    content = {kinds[name]: described for name, described in contents.items()}
    return {"requestBody": {"required": True, "content": content}}


def add_docs(app: FastAPI) -> None:
    """Serve Swagger UI at `/docs`, from the files that the package `fastapi-offline` carries."""
    spec = find_spec("fastapi_offline")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package fastapi-offline is not installed: run make setup")
    app.mount(_ASSETS, StaticFiles(directory=Path(spec.origin).parent / "static"), name="docs-assets")

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url=str(app.openapi_url),
            title=f"{app.title} {app.version}",
            swagger_js_url=f"{_ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{_ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{_ASSETS}/favicon.png",
        )
        page.headers["Content-Security-Policy"] = _policy(bytes(page.body).decode())
        return page


def _policy(page: str) -> str:
    """The page's own files and its inline script, which is named by its hash. Swagger UI sets styles inline."""
    hashes = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    ]
    scripts = " ".join(["'self'", *(f"'sha256-{value}'" for value in hashes)])
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
        " connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
