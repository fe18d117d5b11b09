"""Settings: defaults, refusals that name the variable, and what they must not name."""

import os
from pathlib import Path

import pytest

from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.settings import GROUPS, DatabaseSettings, IngestSettings, env_example, read_settings


@pytest.mark.property("3a")
def test_property_3a_every_setting_has_a_default_and_none_names_pixora() -> None:
    for group in GROUPS:
        for name, field in group.model_fields.items():
            assert not field.is_required(), name
            assert field.description, name
    text = env_example().lower()
    assert "pixora" not in text
    assert "main_app" not in text
    assert "domain" not in text


def test_no_two_groups_own_the_same_setting() -> None:
    names = [name for group in GROUPS for name in group.model_fields]
    assert len(names) == len(set(names))


def test_a_bad_value_is_refused_by_the_variables_name_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEPASS_BATCH_PHOTOS", "many-secret")
    with pytest.raises(PermanentError, match="FACEPASS_BATCH_PHOTOS") as caught:
        read_settings(IngestSettings)
    assert caught.value.code is ErrorCode.INVALID_SETTING
    assert "many-secret" not in str(caught.value)


def test_the_databases_password_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEPASS_DATABASE", "postgresql://u:hunter2@h/d")
    settings = read_settings(DatabaseSettings)
    assert "hunter2" not in repr(settings)
    assert settings.database.get_secret_value().endswith("@h/d")


def test_the_example_loaded_as_it_is_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """`set -a; . ./.env.example`: an empty value is no value."""
    for name in [name for name in os.environ if name.startswith("FACEPASS_")]:
        monkeypatch.delenv(name)
    defaults = [group() for group in GROUPS]
    lines = (Path(__file__).parents[2] / ".env.example").read_text().splitlines()
    for name, _, value in (line.partition("=") for line in lines if line.startswith("FACEPASS_")):
        monkeypatch.setenv(name, value)
    assert [group() for group in GROUPS] == defaults
