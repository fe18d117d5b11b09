"""The needs of calls that index or delete."""

from dataclasses import dataclass, field

from facepass.schemas.events import EventPublisher
from facepass.schemas.settings import IndexingSettings, LeaseSettings, SearchSettings
from facepass.search_api.http import ConcurrencyLimit
from facepass.storage import Store
from facepass.storage.photos import UploadStore
from facepass.use_cases import PhotoResults

CALLS_AT_ONCE = 256
"""Calls that wait at most: far more than one key may begin in the time that they wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexResources:
    """The needs of calls that index or delete.

    Attributes:
        images: the limits of uploaded images: those of selfies.
        lease: of all replicas, which a deletion waits for.
        under_way: bounds the calls under way, those of all routes together.
    """

    store: Store
    events: EventPublisher
    results: PhotoResults
    uploads: UploadStore
    settings: IndexingSettings
    images: SearchSettings
    lease: LeaseSettings
    under_way: ConcurrencyLimit = field(
        default_factory=lambda: ConcurrencyLimit(CALLS_AT_ONCE, what="calls that index or delete")
    )
