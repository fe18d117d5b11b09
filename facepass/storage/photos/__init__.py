"""The sources of photos, a directory or S3, and the uploads that FacePass itself puts there. Decodes nothing."""

from facepass.storage.photos.errors import check_key, invalid_key
from facepass.storage.photos.photo_port import PhotoStore, StoredPhoto
from facepass.storage.photos.photo_store import open_photo_store
from facepass.storage.photos.uploads import UploadStore

__all__ = [
    "PhotoStore",
    "StoredPhoto",
    "UploadStore",
    "check_key",
    "invalid_key",
    "open_photo_store",
]
