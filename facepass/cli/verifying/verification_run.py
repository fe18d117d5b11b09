"""One run of `facepass verify`: everything compared, every difference in a line."""

from collections.abc import AsyncIterator, Sequence

from facepass.cli.verifying.comparison import Comparison
from facepass.cli.verifying.ledger_comparison import compare_ledger
from facepass.cli.verifying.shard_comparison import ShardReport, compare_shards
from facepass.cli.verifying.topic_comparison import compare_topics
from facepass.embedding import read_spec
from facepass.schemas.ids import SessionId
from facepass.schemas.settings import DatabaseSettings, KafkaSettings, ModelSettings, read_settings
from facepass.storage import find_store, open_database
from facepass.storage.reads import Difference


async def run_verify(replicas: Sequence[str], session: SessionId | None, *, repair: bool, patience: float) -> int:
    """Compare what the settings name; as `report_differences`.

    Raises:
        FacePassError: `invalid_setting`, `not_migrated`, `generation_mismatch`, and as `report_differences`.
    """
    spec, kafka = read_spec(read_settings(ModelSettings)), read_settings(KafkaSettings)
    async with open_database(read_settings(DatabaseSettings)) as database:
        store = await find_store(database, spec)
        if store is None:
            print("nothing was ever written to this database: there is nothing to compare")
            return 0
        comparison = Comparison(store=store, session=session, patience=patience)
        return await report_differences(comparison, kafka, replicas, repair=repair)


async def report_differences(
    comparison: Comparison, kafka: KafkaSettings, replicas: Sequence[str], *, repair: bool
) -> int:
    """Compare everything, print what differs and a last line; the number of differences.

    Kafka comes last: without it the rest has been compared.

    Raises:
        FacePassError: `database_unavailable`, and as `compare_topics`.
    """
    total = await _print(compare_ledger(comparison))
    report = ShardReport()
    for url in replicas:
        total += await _print(compare_shards(comparison, url, report, repair=repair))
    total += await _print(compare_topics(comparison, kafka))
    _print_end(report, total, replicas)
    return total


def _print_end(report: ShardReport, total: int, replicas: Sequence[str]) -> None:
    for session_id in report.mended:
        print(f"repaired: the shard of session {session_id!r} was loaded anew and is right")
    for session_id in report.unsettled:
        print(f"not compared: the shard of session {session_id!r} kept changing; try again later")
    shards = _many(report.compared, "shard") if replicas else "no shards, since no --replica was given"
    print(f"compared ledger, topics and {shards}: {_many(total, 'difference')}")


def _many(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'s' * (count != 1)}"


async def _print(differences: AsyncIterator[Difference]) -> int:
    count = 0
    async for one in differences:
        count += 1
        values = f"expected {one.expected}, found {one.found}"
        print(f"{one.compared}: {one.where}: {one.what}: {values}. To do: {one.remedy}", flush=True)
    return count
