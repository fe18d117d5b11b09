"""Logs: one JSON line an event, errors with code and traceback, and nothing that was refused."""

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import structlog

from facepass.schemas.errors import PermanentError
from facepass.schemas.events import PhotoIndexed, decode_event
from facepass.schemas.logs import get_logger, set_up_logs
from facepass.schemas.settings import LogSettings

HOSTILE = b'{"photo_id": "", "session_id": "hush"}'


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines_of(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_line_is_json_the_libraries_too() -> None:
    stream = io.StringIO()
    set_up_logs(LogSettings(log_format="json"), stream)
    get_logger("facepass.streams").info("photo indexed", session_id="s", photo_id="p\n2")
    logging.getLogger("aiokafka").warning("broker %s is gone", 7)
    logging.getLogger("aiokafka").info("chatter")
    ours, library = lines_of(stream)
    assert (ours["event"], ours["session_id"], ours["photo_id"]) == ("photo indexed", "s", "p\n2")
    assert (library["event"], library["logger"]) == ("broker 7 is gone", "aiokafka")


def test_an_error_brings_its_code_and_its_traceback() -> None:
    stream = io.StringIO()
    set_up_logs(LogSettings(log_format="json"), stream)
    try:
        decode_event(PhotoIndexed, HOSTILE, recorded_at=datetime.now(UTC))
    except PermanentError as error:
        get_logger("facepass.streams").warning("event refused", error=error)
        get_logger("facepass.streams").exception("defect")
    warning, defect = lines_of(stream)
    assert warning["code"] == "invalid_id"
    assert "photo_id" in str(warning["error"])
    assert "Traceback" in str(defect["exception"])
    assert defect["code"] == "invalid_id"
    assert "hush" not in stream.getvalue()
