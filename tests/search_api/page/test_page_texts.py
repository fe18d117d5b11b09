"""The texts of the selfie page: complete in both languages, all used, none missing."""

import json
import re
from importlib.resources import files
from typing import Any

import pytest

STATIC = files("facepass.search_api.page") / "static"
PLURALS = {"en": {"one", "other"}, "ru": {"one", "few", "many", "other"}}
"""Categories of whole numbers (Unicode CLDR); `other` is for fractions in Russian."""


def texts(language: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((STATIC / "texts" / f"{language}.json").read_text(encoding="utf-8"))
    return found


def places(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def test_both_languages_have_the_same_texts_and_places() -> None:
    english, russian = texts("en"), texts("ru")
    assert list(english) == list(russian)
    for key, text in english.items():
        assert isinstance(text, dict) == isinstance(russian[key], dict), key
        variants = [*_variants(text), *_variants(russian[key])]
        assert all(variant.strip() for variant in variants), key
        assert len({frozenset(places(variant)) for variant in variants}) == 1, key


@pytest.mark.parametrize("language", PLURALS)
def test_what_counts_has_every_plural_form(language: str) -> None:
    counted = {key: text for key, text in texts(language).items() if isinstance(text, dict)}
    assert counted
    for key, text in counted.items():
        assert set(text) == PLURALS[language], key


def test_every_text_is_used_and_every_used_text_is_there() -> None:
    document = (STATIC / "index.html").read_text(encoding="utf-8")
    scripts = "".join(one.read_text(encoding="utf-8") for one in (STATIC / "js").iterdir())
    used = set(re.findall(r'data-(?:text|label)="([^"]+)"', document))
    used |= set(re.findall(r'"((?:[a-z_]+\.)+[a-z_]+)"', scripts))
    prefixes = set(re.findall(r"`((?:[a-z_]+\.)+)\$\{", scripts))  # text(`hint.${found}`)
    known = set(texts("en"))
    unused = {key for key in known - used - {"noscript"} if not any(map(key.startswith, prefixes))}
    assert unused == set()
    assert {key for key in used if key.split(".")[0] in {one.split(".")[0] for one in known}} <= known


def _variants(text: str | dict[str, str]) -> list[str]:
    return [text] if isinstance(text, str) else list(text.values())
