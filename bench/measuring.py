"""One run of the benchmark: what was chosen, in an order in which nothing disturbs what comes after it."""

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.photo_sets import PhotoSet, make_photos, own_photos
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
from bench.site import Site, open_site
from bench.sizes import Sizes, Subject
from facepass.embedding import FaceEngine, open_engine
from facepass.local import KafkaKind
from facepass.schemas.settings import ModelSettings, read_settings

Tell = Callable[[str], None]
"""Told what is being measured, a few words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """The common ground of the rows that run FacePass's processes."""

    directory: Path
    kafka: KafkaKind
    model: ModelSettings
    sizes: Sizes
    tell: Tell


def measure(
    subjects: Collection[Subject], sizes: Sizes, own: Path | None, kafka: KafkaKind, tell: Tell
) -> Iterator[Row]:
    """Rows as they come.

    Args:
        own: a directory of photos to ingest; None: photos are made.

    Raises:
        FacePassError: a part failed.
    """
    with TemporaryDirectory(prefix="facepass-bench-") as made:
        directory = Path(made)
        if Subject.SHARD in subjects:
            tell("shards: searched, loaded, weighed")
            yield from shard_rows(directory / "shards", sizes)
        if set(subjects) - {Subject.SHARD}:
            model = read_settings(ModelSettings)
            place = _Place(directory=directory, kafka=kafka, model=model, sizes=sizes, tell=tell)
            yield from _measure_processes(subjects, place, own)


def _measure_processes(subjects: Collection[Subject], place: _Place, own: Path | None) -> Iterator[Row]:
    if Subject.STREAMS in subjects:
        place.tell("intake, beside a bare reader")
        yield from intake_rows(place.directory / "intake", place.kafka, place.model, place.sizes)
    place.tell("model pack and photos")
    engine = open_engine(place.model, isolated=False)  # bare decodes where it detects
    count = place.sizes.ingest_photos
    photos = own_photos(own.resolve(), count) if own else make_photos(place.directory / "photos", count)
    if Subject.STREAMS in subjects:
        with _open_site("streams", place, engine, photos) as site:
            place.tell("one photo, from its event to an answer")
            yield from searchable_rows(site, place.sizes)
            place.tell("serve killed and started again")
            yield from recovery_rows(site, place.sizes)
    if {Subject.INGEST, Subject.HTTP, Subject.SEARCH} & set(subjects):
        with _open_site("site", place, engine, photos) as site:
            yield from _measure_site(subjects, place, site)


def _measure_site(subjects: Collection[Subject], place: _Place, site: Site) -> Iterator[Row]:
    if Subject.INGEST in subjects:
        place.tell("ingest, beside the bare engine and the peers' loop")
        yield from ingest_rows(site, place.sizes)
    if Subject.HTTP in subjects:
        place.tell("searches by several clients, what HTTP adds, a batch of photos")
        yield from http_rows(site, place.sizes)
    if Subject.SEARCH in subjects:  # last: it leaves ingest with photos to index
        place.tell("searches over HTTP, idle and under load")
        yield from search_rows(site, place.sizes)


def _open_site(name: str, place: _Place, engine: FaceEngine, photos: PhotoSet) -> AbstractContextManager[Site]:
    directory = place.directory / name
    return open_site(directory, place.kafka, model=place.model, engine=engine, photos=photos, report=place.tell)
