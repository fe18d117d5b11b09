"""The opened parts that the HTTP API is built from."""

from collections.abc import Callable
from dataclasses import dataclass

from facepass.embedding import FaceEngine
from facepass.schemas.settings import AccessSettings, SearchSettings
from facepass.storage.database import Database
from facepass.storage.generations import Generation
from facepass.storage.replica import Replica
from facepass.storage.shards import Shards


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What `create_app` needs, opened by the entry point and closed by it.

    Attributes:
        broker_healthy: whether hints of changes arrive; searches are right without, only later fresh.
    """

    database: Database
    generation: Generation
    engine: FaceEngine
    shards: Shards
    replica: Replica
    settings: SearchSettings
    access: AccessSettings
    broker_healthy: Callable[[], bool]
