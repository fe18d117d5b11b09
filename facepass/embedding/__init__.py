"""Pixels to vectors: decoding, face detection, alignment, embedding. No database, no Kafka."""

from facepass.embedding.decoding import Picture, decode_image
from facepass.embedding.engine import FaceEngine, open_engine, read_spec

__all__ = ["FaceEngine", "Picture", "decode_image", "open_engine", "read_spec"]
