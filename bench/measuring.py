"""One run of the benchmark: what was chosen, in an order in which nothing disturbs what comes after it."""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.command import Subject
from bench.photo_sets import make_photos, own_photos
from bench.row import Row
from bench.rows import (
    http_rows,
    ingest_rows,
    intake_rows,
    recovery_rows,
    search_rows,
    searchable_rows,
    shard_rows,
)
from bench.site import open_site
from bench.sizes import Sizes
from facepass.embedding import open_engine
from facepass.local import KafkaKind
from facepass.schemas.settings import ModelSettings, read_settings


def measure(
    subjects: Collection[Subject], sizes: Sizes, own: Path | None, kafka: KafkaKind, tell: Callable[[str], None]
) -> Iterator[Row]:
    """Rows as they come.

    Args:
        own: a directory of photos to ingest; None: photos are made.
        tell: told what is being measured, a few words.

    Raises:
        FacePassError: a part failed.
    """
    with TemporaryDirectory(prefix="facepass-bench-") as made:
        if Subject.SHARD in subjects:
            tell("shards: searched, loaded, weighed")
            yield from shard_rows(Path(made) / "shards", sizes)
        if {Subject.STREAMS, Subject.INGEST, Subject.HTTP, Subject.SEARCH} & set(subjects):
            yield from _measure_streams(subjects, sizes, own=own, kafka=kafka, directory=Path(made), tell=tell)


def _measure_streams(
    subjects: Collection[Subject],
    sizes: Sizes,
    *,
    own: Path | None,
    kafka: KafkaKind,
    directory: Path,
    tell: Callable[[str], None],
) -> Iterator[Row]:
    model, count = read_settings(ModelSettings), sizes.ingest_photos
    if Subject.STREAMS in subjects:
        tell("intake, beside a bare reader")
        yield from intake_rows(directory / "intake", kafka, model, sizes)
    tell("model pack and photos")
    engine = open_engine(model, isolated=False)  # bare decodes where it detects
    photos = own_photos(own.resolve(), count) if own else make_photos(directory / "photos", count)
    if Subject.STREAMS in subjects:
        with open_site(
            directory / "streams", kafka, model=model, engine=engine, photos=photos, report=tell
        ) as site:
            tell("one photo, from its event to an answer")
            yield from searchable_rows(site, sizes)
            tell("serve killed and started again")
            yield from recovery_rows(site, sizes)
    if not {Subject.INGEST, Subject.HTTP, Subject.SEARCH} & set(subjects):
        return
    with open_site(directory / "site", kafka, model=model, engine=engine, photos=photos, report=tell) as site:
        if Subject.INGEST in subjects:
            tell("ingest, beside the bare engine and the peers' loop")
            yield from ingest_rows(site, sizes)
        if Subject.HTTP in subjects:
            tell("searches by several clients, what HTTP adds, a batch of photos")
            yield from http_rows(site, sizes)
        if Subject.SEARCH in subjects:  # last: it leaves ingest with photos to index
            tell("searches over HTTP, idle and under load")
            yield from search_rows(site, sizes)
