"""Model packs: a detector and a recogniser that belong together, described by a `pack.toml`."""

import hashlib
import importlib.util
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facepass.schemas.errors import ErrorCode, PermanentError

__all__ = [
    "ModelFile",
    "ModelPack",
    "invalid_pack",
    "open_pack",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One ONNX file of a pack.

    Attributes:
        kind: which code knows its inputs and outputs: `yunet` for a detector, `sface` for a recogniser.
        path: where it is.
        sha256: what its content must be.
    """

    kind: str
    path: Path
    sha256: str

    def read(self) -> bytes:
        """The file's bytes.

        Raises:
            PermanentError: `invalid_pack` if it is missing or is not the file that the pack names.
        """
        try:
            data = self.path.read_bytes()
        except OSError as exc:
            raise invalid_pack(f"{self.path} cannot be read") from exc
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise invalid_pack(f"{self.path} is not the file that pack.toml names (sha256 differs)")
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPack:
    """A model pack. See `pack.toml` of the starter pack, which explains each attribute."""

    name: str
    licence: str
    vector_size: int
    operating_point: float
    detector: ModelFile
    recogniser: ModelFile


def open_pack(model: str) -> ModelPack:
    """The pack of that name, or the one in that directory.

    Raises:
        PermanentError: `invalid_pack` if there is none, or its `pack.toml` is incomplete.
    """
    directory = Path(__file__).parent / model if model.isidentifier() else Path(model)
    description = directory / "pack.toml"
    try:
        values = tomllib.loads(description.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise invalid_pack(f"no model pack {model!r}: {description} is missing or no TOML") from exc
    try:
        return ModelPack(
            name=str(values["name"]),
            licence=str(values["licence"]),
            vector_size=int(values["vector_size"]),
            operating_point=float(values["operating_point"]),
            detector=_model_file(values["detector"], directory),
            recogniser=_model_file(values["recogniser"], directory),
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise invalid_pack(f"{description} lacks an entry or has a wrong one: {exc}") from exc


def _model_file(values: Mapping[str, Any], directory: Path) -> ModelFile:
    """A file; `file` is relative to `package`'s folder where one is named, else to the pack's directory."""
    package = values.get("package")
    root = directory if package is None else _package_folder(package)
    return ModelFile(kind=values["kind"], path=root / values["file"], sha256=values["sha256"])


def _package_folder(package: str) -> Path:
    """The folder where a package is installed, found without importing it (and all that it would import)."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise invalid_pack(f"the package {package}, which carries the model files, is not installed")
    return Path(spec.submodule_search_locations[0])


def invalid_pack(reason: str) -> PermanentError:
    """The error of a pack that cannot be used."""
    return PermanentError(ErrorCode.INVALID_PACK, reason)
