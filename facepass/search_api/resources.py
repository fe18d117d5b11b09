"""The parts that the HTTP API is built from."""

from collections.abc import Callable
from dataclasses import dataclass

from facepass.embedding import FaceEngine
from facepass.schemas.events import EventPublisher
from facepass.schemas.settings import AccessSettings, IndexingSettings, LeaseSettings, PageSettings, SearchSettings
from facepass.storage import Store
from facepass.storage.photos import UploadStore
from facepass.storage.shards import Replica, Shards
from facepass.use_cases import PhotoResults


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """The needs of `create_app`, opened by the entry point and closed by it. Each room gets its own share of it.

    Attributes:
        lease: of all replicas, for whoever waits until none of them serves any more what was deleted.
        events: where calls that index or delete publish; not there without Kafka.
        results: tells those calls what became of their photos.
        uploads: photos that came by HTTP, in the photo store.
        broker_healthy: whether hints of changes arrive; searches are right without, only later fresh.
    """

    store: Store
    engine: FaceEngine
    shards: Shards
    replica: Replica
    search: SearchSettings
    access: AccessSettings
    indexing: IndexingSettings
    page: PageSettings
    lease: LeaseSettings
    events: EventPublisher
    results: PhotoResults
    uploads: UploadStore
    broker_healthy: Callable[[], bool]
