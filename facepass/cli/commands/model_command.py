"""The command `facepass prepare`: the model pack."""

from facepass.schemas.settings import ModelSettings, read_settings


def prepare() -> None:
    """Prepare the model pack (FACEPASS_MODEL) in the cache; otherwise the first start of a process does it."""
    from facepass.embedding import open_engine

    engine = open_engine(read_settings(ModelSettings))
    print(f"model pack {engine.spec.pack} is ready, on {engine.runtime}, {engine.threads} threads")
