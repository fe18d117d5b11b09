"""Migrations, generations, and what the driver's errors become."""

import asyncio
import os
import subprocess
import sys
import traceback
from dataclasses import replace

import psycopg
import pytest
from alembic.script import ScriptDirectory
from faults.loop_thread import LoopThread
from faults.proxies import TcpProxy, unix_target
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr
from support.ledger import SPEC, at, face, open_storage, outcome, photo_event, random_vector

from facepass.schemas.errors import ErrorCode, FacePassError, PermanentError, TransientError
from facepass.schemas.ids import SessionId
from facepass.schemas.settings import DatabaseSettings
from facepass.storage import migrations
from facepass.storage.database import Connection, open_database
from facepass.storage.generations import open_store
from facepass.storage.migrations import HEAD, migrate
from facepass.storage.statements import load_statements
from facepass.storage.writes import delete_session, register_photos, save_photos

_STRUCTURE = """
SELECT 'column', table_name || '.' || column_name, data_type || is_nullable || coalesce(column_default, '')
    FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT 'storage', attrelid::regclass || '.' || attname, attstorage::text FROM pg_attribute
    WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
ORDER BY 1, 2, 3
"""


def _structure(settings: DatabaseSettings) -> list[tuple[str, str, str]]:
    with psycopg.connect(settings.database.get_secret_value()) as connection:
        return [row for row in connection.execute(_STRUCTURE).fetchall() if "facepass_migration" not in row[1]]


async def test_upgrade_and_downgrade_meet(database_settings: DatabaseSettings) -> None:
    upgraded = _structure(database_settings)
    assert any(name == "face_embeddings.embedding" for _, name, _ in upgraded)
    async with open_storage(database_settings) as storage:
        await register_photos(storage.store, [photo_event("s", "p")])
    migrate(database_settings, "base")
    assert _structure(database_settings) == []
    migrate(database_settings)
    assert _structure(database_settings) == upgraded


def test_processes_that_migrate_at_once_take_turns(database_settings: DatabaseSettings) -> None:
    expected = _structure(database_settings)
    migrate(database_settings, "base")
    program = (
        "from facepass.schemas.settings import DatabaseSettings; from facepass.storage.migrations import migrate;"
        "migrate(DatabaseSettings())"
    )
    environment = {**os.environ, "FACEPASS_DATABASE": database_settings.database.get_secret_value()}
    processes = [subprocess.Popen([sys.executable, "-c", program], env=environment) for _ in range(3)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    assert _structure(database_settings) == expected


def test_head_is_the_newest_migration() -> None:
    assert ScriptDirectory(str(migrations.__path__[0])).get_heads() == [HEAD]


async def test_a_database_without_tables_or_of_another_version_is_not_migrated(
    database_settings: DatabaseSettings,
) -> None:
    async with open_database(database_settings) as db:
        async with db.transaction() as connection:
            await connection.execute("UPDATE facepass_migration SET version_num = '9999'")
        with pytest.raises(PermanentError) as newer:
            await open_store(db, SPEC)
        async with db.transaction() as connection:
            await connection.execute(f"UPDATE facepass_migration SET version_num = '{HEAD}'")
        migrate(database_settings, "base")
        with pytest.raises(PermanentError) as empty:
            await open_store(db, SPEC)
    assert newer.value.code is empty.value.code is ErrorCode.NOT_MIGRATED
    assert "facepass migrate" in newer.value.message


async def test_processes_that_start_at_once_share_one_generation(database_settings: DatabaseSettings) -> None:
    async with open_database(database_settings) as one, open_database(database_settings) as two:
        opened = await asyncio.gather(*(open_store(db, SPEC) for db in (one, two) * 8))
    assert {store.generation.number for store in opened} == {opened[0].generation.number}
    with psycopg.connect(database_settings.database.get_secret_value()) as connection:
        assert connection.execute("SELECT count(*) FROM generations").fetchone() == (1,)


@pytest.mark.parametrize(
    "spec", [replace(SPEC, vector_size=16), replace(SPEC, fingerprint={"detector": "d", "recogniser": "other"})]
)
async def test_other_settings_never_meet_the_stored_vectors(database_settings: DatabaseSettings, spec) -> None:
    async with open_storage(database_settings) as storage:
        with pytest.raises(PermanentError) as caught:
            await open_store(storage.db, spec)
    assert caught.value.code is ErrorCode.GENERATION_MISMATCH


@pytest.mark.property(7)
async def test_property_7_a_vector_of_another_size_is_refused(database_settings: DatabaseSettings) -> None:
    wrong = outcome(photo_event("s", "p"), faces=[face(random_vector("x", 16))])
    async with open_storage(database_settings) as storage:
        with pytest.raises(FacePassError) as caught:
            await save_photos(storage.store, [wrong], retry_hours=24)
        assert caught.value.code is ErrorCode.INTERNAL
        assert await storage.rows("SELECT 1 FROM photos") == []


async def test_error_texts_hold_no_row(database_settings: DatabaseSettings) -> None:
    """PostgreSQL's own detail of the failed check quotes the whole row; the test sees to it that it would."""
    wrong = outcome(photo_event("secret-session", "p"), faces=[face(random_vector("x", 16))])
    async with open_storage(database_settings) as storage:
        with pytest.raises(FacePassError) as caught:
            await save_photos(storage.store, [wrong], retry_hours=24)
    driver = caught.value.__context__
    assert isinstance(driver, psycopg.errors.CheckViolation)
    assert "secret-session" in str(driver)
    text = "".join(traceback.format_exception(caught.value))
    assert "23514" in text
    assert "Failing row" not in text
    assert "secret-session" not in text


async def test_a_lost_connection_and_a_missing_server_are_transient(
    database_settings: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_storage(database_settings) as storage:
        with pytest.raises(TransientError) as caught:
            async with storage.db.transaction() as connection:
                await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        assert caught.value.code is ErrorCode.DATABASE_UNAVAILABLE
        # the next caller gets a working connection
        assert await storage.rows("SELECT 1") == [(1,)]
    monkeypatch.setattr("facepass.storage.database._POOL_WAIT_SECONDS", 0.2)
    nobody = DatabaseSettings(database=SecretStr("postgresql://facepass:hidden@127.0.0.1:1/facepass"))
    with pytest.raises(TransientError) as caught:
        async with open_database(nobody):
            pass
    assert caught.value.code is ErrorCode.DATABASE_UNAVAILABLE
    assert "Connection refused" in caught.value.message
    assert "hidden" not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(TransientError) as caught:
        migrate(nobody)
    assert "hidden" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("statement", "kind", "code"),
    [
        ("SELECT 1 / 0", FacePassError, ErrorCode.INTERNAL),
        ("SELECT * FROM nowhere", PermanentError, ErrorCode.NOT_MIGRATED),
        ("SELECT nothing FROM sessions", PermanentError, ErrorCode.NOT_MIGRATED),
        ("DO $$ BEGIN RAISE SQLSTATE '53300'; END $$", TransientError, ErrorCode.DATABASE_UNAVAILABLE),
        ("DO $$ BEGIN RAISE SQLSTATE '57P03'; END $$", TransientError, ErrorCode.DATABASE_UNAVAILABLE),
        ("DO $$ BEGIN RAISE SQLSTATE '25006'; END $$", TransientError, ErrorCode.DATABASE_UNAVAILABLE),
        ("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$", TransientError, ErrorCode.DATABASE_UNAVAILABLE),
    ],
)
async def test_every_kind_of_driver_error_is_translated(
    database_settings: DatabaseSettings, statement: str, kind: type[FacePassError], code: ErrorCode
) -> None:
    async with open_database(database_settings) as db:
        with pytest.raises(kind) as caught:
            async with db.transaction() as connection:
                await connection.execute(statement)
    assert caught.value.code is code
    assert isinstance(caught.value, kind)


async def test_a_deadlock_is_run_again(database_settings: DatabaseSettings) -> None:
    async with open_storage(database_settings) as storage:
        for name in "ab":
            await register_photos(storage.store, [photo_event(name, "p")])
        runs, both = [], asyncio.Barrier(2)

        async def crosswise(first: str, second: str) -> None:
            async def work(connection: psycopg.AsyncConnection) -> None:
                runs.append(first)
                await connection.execute("UPDATE sessions SET name = 'x' WHERE session_id = %s", (first,))
                if len(runs) <= 2:
                    await both.wait()
                await connection.execute("UPDATE sessions SET name = 'x' WHERE session_id = %s", (second,))

            await storage.db.run(work)

        await asyncio.gather(crosswise("a", "b"), crosswise("b", "a"))
        assert len(runs) == 3


async def test_a_snapshot_sees_one_state_and_writes_nothing(database_settings: DatabaseSettings) -> None:
    async with open_storage(database_settings) as storage:
        async with storage.db.transaction(snapshot=True) as connection:
            await connection.execute("SELECT 1")
            await delete_session(storage.store, SessionId("s"), at(0))
            assert await (await connection.execute("SELECT * FROM sessions")).fetchall() == []
        assert len(await storage.rows("SELECT * FROM sessions")) == 1
        with pytest.raises(FacePassError):
            async with storage.db.transaction(snapshot=True) as connection:
                await connection.execute("DELETE FROM sessions")


async def test_vectors_stay_in_the_row(database_settings: DatabaseSettings) -> None:
    large = replace(SPEC, vector_size=1024)
    big = outcome(photo_event("s", "p"), faces=[face(random_vector(n, 1024)) for n in range(4)])
    async with open_storage(database_settings, large) as storage:
        await save_photos(storage.store, [big], retry_hours=24)
        toast = await storage.rows(
            "SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE relname = %(name)s AND reltoastrelid <> 0",
            name=f"face_embeddings_{storage.generation.number}",
        )
        assert toast in ([], [(0,)])
        assert await storage.rows("SELECT count(*), min(vector_dims(embedding)) FROM face_embeddings") == [
            (4, 1024)
        ]


def test_every_statement_has_a_comment() -> None:
    for topic in ("generations", "writes"):
        for name, text in load_statements(topic).items():
            assert text.startswith("-- "), name


async def test_a_connection_that_falls_silent_holds_nobody(database_settings: DatabaseSettings) -> None:
    """A network that swallows packets: what is asked of a pooled connection must not wait for its end."""
    parts = conninfo_to_dict(database_settings.database.get_secret_value())
    loop = LoopThread()
    proxy = TcpProxy(loop, unix_target(lambda: f"{parts['host']}/.s.PGSQL.{parts.get('port') or 5432}"))
    through = make_conninfo("", **{**parts, "host": "127.0.0.1", "port": proxy.port})
    try:
        async with open_database(DatabaseSettings(database=SecretStr(through))) as database:
            assert await database.run(_one) == 1
            proxy.stall()
            with pytest.raises(TransientError):
                await database.run(_one)
            proxy.drop()
            proxy.mend()
            assert await database.run(_one) == 1
    finally:
        proxy.close()
        loop.close()


async def _one(connection: Connection) -> int:
    row = await (await connection.execute("SELECT 1")).fetchone()
    assert row is not None
    return int(row[0])
