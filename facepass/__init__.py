"""FacePass: finds the photos of one person in one photo session."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("facepass")
