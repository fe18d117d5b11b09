"""Structured logs: one event a line, JSON unless on a terminal."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from facepass.schemas.errors import FacePassError
from facepass.schemas.settings import LogSettings

_LOUD_LIBRARIES = (
    "botocore",
    "aiobotocore",
    "urllib3",
    "alembic",
    "asyncio",
    "aiokafka",
    "faust",
    "mode",
    "aiohttp.access",
)
"""Their chatter below WARNING tells an operator nothing that our own lines do not."""


def set_up_logs(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Send every log line, the libraries' too, through structlog to `stream` (default: standard error)."""
    stream = stream or sys.stderr
    console = settings.log_format == "console" or (settings.log_format == "auto" and stream.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _name_error,
    ]
    renderer: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    for name in _LOUD_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[settings.log_level.upper()]
        ),
        cache_logger_on_first_use=False,
    )


def _name_error(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Give the line the code of a FacePassError passed as `exc_info` or `error`."""
    error = event.get("error") or event.get("exc_info")
    if error is True:
        error = sys.exception()
    if isinstance(error, FacePassError):
        event.setdefault("code", str(error.code))
    if isinstance(event.get("error"), FacePassError):
        event["error"] = event["error"].message
    return event


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A structured logger of that name."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger
