"""Whose address a request counts for: what a proxy wrote is believed, what a client wrote is not."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.search_api.access.addresses import UNKNOWN, client_address, counted_as, parse_address, read_proxies

PROXIES = read_proxies("10.0.0.0/8, 2001:db8:1::/48, 192.0.2.1")
PROXY = "10.1.2.3"


def counted(peer: str | None, *headers: str, proxies: str | None = None) -> str:
    scope = {
        "type": "http",
        "client": None if peer is None else (peer, 50000),
        "headers": [(b"x-forwarded-for", header.encode("latin-1")) for header in headers],
    }
    return counted_as(client_address(scope, PROXIES if proxies is None else read_proxies(proxies)))


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        (["1.1.1.1", "203.0.113.9"], "203.0.113.9"),
        (["1.1.1.1", "203.0.113.9, 10.9.9.9"], "203.0.113.9"),
        (["203.0.113.9, 192.0.2.1 ,10.0.0.1"], "203.0.113.9"),
        (["203.0.113.9:1234"], "203.0.113.9"),
        (["[2001:db8:ffff::1]:1234"], "2001:db8:ffff::/64"),
        (["2001:db8:ffff::1"], "2001:db8:ffff::/64"),
        (["2001:db8:ffff::1, 2001:db8:1::7"], "2001:db8:ffff::/64"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["10.5.5.5, 10.6.6.6"], "10.5.5.5"),
        ([], PROXY),
        ([""], PROXY),
        (["unknown"], PROXY),
        (["203.0.113.9, unknown, 10.9.9.9"], "10.9.9.9"),
        (["203.0.113.9, 999.1.1.1"], PROXY),
    ],
)
def test_behind_a_trusted_proxy_the_rightmost_untrusted_address_counts(headers: list[str], client: str) -> None:
    assert counted(PROXY, *headers) == client


def test_without_a_trusted_proxy_the_header_means_nothing() -> None:
    assert counted("203.0.113.1", "198.51.100.7") == "203.0.113.1"
    assert counted("127.0.0.1", "198.51.100.7") == "127.0.0.1"
    assert counted(PROXY, "198.51.100.7", proxies="") == PROXY
    assert counted(None, "198.51.100.7") == UNKNOWN


@given(st.lists(st.text(st.characters(max_codepoint=255), max_size=60), max_size=5))
def test_whatever_a_client_writes_it_counts_for_its_own_address(invented: list[str]) -> None:
    """A proxy appends the address that it saw, in the last header or in one of its own."""
    assert counted("203.0.113.1", *invented) == "203.0.113.1"
    assert counted(PROXY, *invented, "203.0.113.1") == "203.0.113.1"
    assert counted(PROXY, ",".join([*invented, "203.0.113.1"])) == "203.0.113.1"


@given(st.ip_addresses(), st.integers(1, 65535))
def test_an_address_is_read_however_it_is_written(address: object, port: int) -> None:
    text = str(address)
    bracketed = f"[{text}]:{port}" if ":" in text else f"{text}:{port}"
    mapped = getattr(address, "ipv4_mapped", None)
    assert parse_address(text) == parse_address(f" {text} ") == parse_address(bracketed) == (mapped or address)


@given(st.binary(min_size=8, max_size=8), st.binary(min_size=8, max_size=8), st.binary(min_size=8, max_size=8))
def test_one_network_of_ipv6_counts_once(network: bytes, one: bytes, other: bytes) -> None:
    first, second = ip_address(network + one), ip_address(network + other)
    if first.version == 6 and first.ipv4_mapped is None and second.ipv4_mapped is None:
        assert counted_as(first) == counted_as(second)


@pytest.mark.parametrize("setting", ["10.0.0.0/33", "proxy.example", "10.0.0.1;10.0.0.2", "*"])
def test_an_unusable_setting_is_named(setting: str) -> None:
    with pytest.raises(PermanentError, match="FACEPASS_TRUSTED_PROXIES") as caught:
        read_proxies(setting)
    assert caught.value.code is ErrorCode.INVALID_SETTING
