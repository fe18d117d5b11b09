"""The command `facepass bench`: FacePass beside the bare libraries that it is made of, in the same run.

Part of the source tree and not of the installed package.
"""

from bench.command import bench

__all__ = [
    "bench",
]
