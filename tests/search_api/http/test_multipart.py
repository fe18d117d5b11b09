"""The multipart reader: what it takes, what it refuses, and that it reads no further than it must."""

import tracemalloc
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.http.search_bodies import MAX_SELFIES, SearchParameters
from facepass.search_api.http.multipart import (
    FORM_OVERHEAD_BYTES,
    MAX_FIELD_BYTES,
    MAX_PARTS,
    checked_fields,
    read_image_form,
)
from facepass.search_api.searching.search import SearchForm

LIMIT = 100_000


def part(name: str, value: bytes, *, filename: str | None = None) -> bytes:
    disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename is not None else "")
    return b"--b\r\nContent-Disposition: " + disposition.encode() + b"\r\n\r\n" + value + b"\r\n"


def body(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--b--\r\n"


async def read_search_form(
    content_type: str, content_length: int | None, chunks: AsyncIterator[bytes], *, max_bytes: int
) -> SearchForm:
    """As a search reads its form."""
    form = await read_image_form(
        content_type, content_length, chunks, max_bytes=max_bytes, most_images=MAX_SELFIES
    )
    return SearchForm(selfies=form.images, parameters=checked_fields(form.fields, SearchParameters))


async def read(
    data: bytes, *, chunk: int = 65536, content_type: str = "multipart/form-data; boundary=b", limit: int = LIMIT
) -> SearchForm:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), chunk):
            yield data[start : start + chunk]
        yield b""

    return await read_search_form(content_type, None, chunks(), max_bytes=limit)


async def refusal(data: bytes, **options: object) -> PermanentError:
    with pytest.raises(PermanentError) as caught:
        await read(data, **options)
    return caught.value


GOOD = (part("file", b"selfie", filename="me.jpg"), part("session_id", b"s1"))


@pytest.mark.parametrize("name", ["file", "image"])
@pytest.mark.parametrize("filename", ["selfie.jpg", "file", "", None])
async def test_the_part_name_decides_not_the_file_name(name: str, filename: str | None) -> None:
    form = await read(body(part(name, b"\xff\xd8\x00", filename=filename), part("session_id", b"s1")))
    assert form.selfies == (b"\xff\xd8\x00",)
    assert form.parameters.session_id == "s1"
    assert (form.parameters.threshold, form.parameters.limit) == (0.7, 1000)


@given(selfie=st.binary(max_size=300), chunk=st.integers(1, 64))
async def test_the_selfie_arrives_as_sent_however_it_is_cut(selfie: bytes, chunk: int) -> None:
    selfie = selfie.replace(b"\r\n--b", b"")
    form = await read(body(part("file", selfie), part("session_id", "сессия".encode())), chunk=chunk)
    assert form.selfies == (selfie,)
    assert form.parameters.session_id == "сессия"


async def test_up_to_five_selfies_keep_their_order_under_both_names() -> None:
    selfies = [
        part(name, f"selfie {number}".encode()) for number, name in enumerate(["file", "image"] * 2 + ["file"])
    ]
    form = await read(body(selfies[0], GOOD[1], *selfies[1:]))
    assert form.selfies == tuple(f"selfie {number}".encode() for number in range(5))


async def test_each_selfie_may_have_the_whole_limit() -> None:
    full = part("file", b"x" * LIMIT)
    assert [len(selfie) for selfie in (await read(body(*[full] * 5, GOOD[1]))).selfies] == [LIMIT] * 5
    error = await refusal(body(*[full] * 2, part("file", b"x" * (LIMIT + 1)), GOOD[1]))
    assert error.code is ErrorCode.FILE_TOO_LARGE


async def test_a_form_of_one_image_takes_any_fields_and_no_second_image() -> None:
    async def chunks(data: bytes) -> AsyncIterator[bytes]:
        yield data

    kind = "multipart/form-data; boundary=b"
    parts = (part("image", b"photo"), part("photo_id", b"p1"), part("note", b"any"))
    form = await read_image_form(kind, None, chunks(body(*parts)), max_bytes=LIMIT)
    assert (form.images, form.fields) == ((b"photo",), {"photo_id": "p1", "note": "any"})
    with pytest.raises(PermanentError) as caught:
        await read_image_form(kind, None, chunks(body(*parts, parts[0])), max_bytes=LIMIT)
    assert caught.value.details == {"field": "file", "limit": 1}


async def test_the_limit_itself_is_accepted_and_one_byte_more_is_not() -> None:
    assert len((await read(body(part("file", b"x" * LIMIT), GOOD[1]))).selfies[0]) == LIMIT
    error = await refusal(body(part("file", b"x" * (LIMIT + 1)), GOOD[1]))
    assert error.code is ErrorCode.FILE_TOO_LARGE
    assert error.details == {"limit": LIMIT}


async def test_too_large_a_body_is_not_read_on() -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        yield b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
        while True:
            taken += 1000
            yield b"x" * 1000

    with pytest.raises(PermanentError, match="more than"):
        await read_search_form("multipart/form-data; boundary=b", None, endless(), max_bytes=LIMIT)
    assert taken <= LIMIT + 1000


@pytest.mark.parametrize("filler", [b"\r\n" * 500, b"--b--\r\n" + b"x" * 1000], ids=["preamble", "epilogue"])
async def test_bytes_outside_of_parts_are_bounded_too(filler: bytes) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += len(filler)
            yield filler

    with pytest.raises(PermanentError, match="more than"):
        await read_search_form("multipart/form-data; boundary=b", None, endless(), max_bytes=LIMIT)
    assert taken <= FORM_OVERHEAD_BYTES + len(filler)


async def test_an_announced_excess_is_refused_unread() -> None:
    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("read")
        yield b""

    with pytest.raises(PermanentError, match="more than"):
        await read_search_form(
            "multipart/form-data; boundary=b", 5 * LIMIT + FORM_OVERHEAD_BYTES + 1, never(), max_bytes=LIMIT
        )


async def test_the_selfie_is_held_about_once() -> None:
    data = body(part("file", b"x" * 8_000_000), GOOD[1])
    tracemalloc.start()
    try:
        await read(data, limit=10_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2.5 * 8_000_000


MALFORMED = {
    "nothing": b"",
    "no parts": b"--b--\r\n",
    "no boundary": b"selfie",
    "cut off in a field": body(*GOOD)[:-10],
    "cut off in the selfie": body(*GOOD[::-1])[:-12],
    "cut off before the end": body(*GOOD)[:-4],
    "cut off in a header": b"--b\r\nContent-Dispo",
    "no name": b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n",
    "no disposition": b"--b\r\nX-Y: z\r\n\r\nx\r\n--b--\r\n",
    "other disposition": b'--b\r\nContent-Disposition: attachment; name="file"\r\n\r\nx\r\n--b--\r\n',
    "bad header": b"--b\r\nContent Disposition: x\r\n\r\nx\r\n--b--\r\n",
    "long header": b"--b\r\nX: " + b"y" * 100_000 + b"\r\n\r\nx\r\n--b--\r\n",
    "many headers": b"--b\r\n" + b"X: y\r\n" * 1000 + b"\r\nx\r\n--b--\r\n",
    "no selfie": body(GOOD[1]),
    "six selfies": body(*GOOD, *[part("image", b"x")] * 5),
    "two sessions": body(*GOOD, part("session_id", b"s2")),
    "many parts": body(*GOOD, *(part(f"x{i}", b"") for i in range(MAX_PARTS))),
    "long field": body(*GOOD, part("note", b"x" * (MAX_FIELD_BYTES + 1))),
    "not UTF-8": body(GOOD[0], part("session_id", b"\xff")),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
async def test_malformed_bodies_are_refused(data: bytes) -> None:
    assert (await refusal(data)).code is ErrorCode.INVALID_PARAMETER


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "multipart/form-data",
        "multipart/mixed; boundary=b",
        "multipart/form-data; boundary=",
    ],
)
async def test_other_content_types_are_refused(content_type: str) -> None:
    error = await refusal(body(*GOOD), content_type=content_type)
    assert error.code is ErrorCode.INVALID_PARAMETER


async def test_too_long_a_boundary_is_refused() -> None:
    boundary = "b" * 1000
    error = await refusal(body(*GOOD), content_type=f"multipart/form-data; boundary={boundary}")
    assert error.code is ErrorCode.INVALID_PARAMETER


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threshold", "1.01"),
        ("threshold", "-0.1"),
        ("threshold", "nan"),
        ("threshold", "inf"),
        ("threshold", "high"),
        ("threshold", ""),
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", "1.5"),
        ("limit", "9" * 30),
        ("min_revision", "-1"),
        ("min_revision", str(2**53)),
        ("wait_ms", "-1"),
        ("wait_ms", "10001"),
    ],
)
async def test_a_parameter_out_of_range_is_named_and_not_repeated(name: str, value: str) -> None:
    error = await refusal(body(*GOOD, part(name, value.encode())))
    assert error.code is ErrorCode.INVALID_PARAMETER
    assert error.details == {"field": name}
    assert len(value) < 5 or value not in error.message


@pytest.mark.parametrize("value", ["", "x" * 256, "a\x00b"])
async def test_an_invalid_session_id_is_refused(value: str) -> None:
    error = await refusal(body(GOOD[0], part("session_id", value.encode())))
    assert error.code is ErrorCode.INVALID_ID
    assert not value or value not in error.message


async def test_a_missing_session_id_is_named() -> None:
    error = await refusal(body(GOOD[0]))
    assert (error.code, error.details) == (ErrorCode.INVALID_PARAMETER, {"field": "session_id"})


def test_the_selfie_is_not_in_the_forms_repr() -> None:
    form = SearchForm(selfies=(b"secret pixels",), parameters=SearchParameters(session_id="s"))
    assert "secret" not in repr(form)


@pytest.mark.property(15)
@given(
    value=st.text(max_size=300), name=st.sampled_from(["session_id", "threshold", "limit", "min_revision", "note"])
)
async def test_property_15_any_text_in_any_field_is_data_or_refused(value: str, name: str) -> None:
    parts = [*GOOD, part(name, value.encode(errors="replace"))]
    if name == "session_id":
        del parts[1]
    try:
        form = await read(body(*parts))
    except PermanentError as error:
        assert error.code in {ErrorCode.INVALID_PARAMETER, ErrorCode.INVALID_ID}
    else:
        assert name != "session_id" or form.parameters.session_id == value.encode(errors="replace").decode()
