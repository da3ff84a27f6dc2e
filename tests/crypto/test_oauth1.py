"""OAuth 1.0a: a fixed vector, the examples of the standard, and another implementation."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade.core.token import Token
from pyade.crypto.oauth1 import authorization_header, base_string, percent_encode, signature

URL = "https://mdmenrollment.apple.com/session"
NONCE = "00112233445566778899aabbccddeeff"
TOKEN = Token(
    name="hq",
    consumer_key="CK_1",
    consumer_secret="CS_1",
    access_token="AT_1",
    access_secret="AS_1",
    access_token_expiry=None,
    apple_id="it@contoso.com",
    consented_at=datetime(2026, 1, 1, tzinfo=UTC),
)
PARAMETERS = {
    "oauth_consumer_key": "CK_1",
    "oauth_nonce": NONCE,
    "oauth_signature_method": "HMAC-SHA1",
    "oauth_timestamp": "1700000000",
    "oauth_token": "AT_1",
    "oauth_version": "1.0",
}
BASE = (
    "GET&https%3A%2F%2Fmdmenrollment.apple.com%2Fsession&oauth_consumer_key%3DCK_1%26oauth_nonce%3D"
    "00112233445566778899aabbccddeeff%26oauth_signature_method%3DHMAC-SHA1%26oauth_timestamp%3D1700000000"
    "%26oauth_token%3DAT_1%26oauth_version%3D1.0"
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
ASCII = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=30)


def parse(header: str) -> dict[str, str]:
    scheme, _, rest = header.partition(" ")
    assert scheme == "OAuth"
    pairs = (part.split("=", 1) for part in rest.split(", "))
    return {key: unquote(value.removeprefix('"').removesuffix('"')) for key, value in pairs}


def test_the_vector() -> None:
    assert base_string("get", URL, PARAMETERS) == BASE
    assert signature("GET", URL, PARAMETERS, "CS_1", "AS_1") == "Wl1MFd88BBe9uBsu4aS0nROPcOQ="


def test_the_header() -> None:
    header = authorization_header(TOKEN, "GET", URL, timestamp=1700000000, nonce=NONCE).reveal()
    assert header.startswith('OAuth realm="ADM", oauth_consumer_key="CK_1", ')
    assert 'oauth_signature="Wl1MFd88BBe9uBsu4aS0nROPcOQ%3D"' in header
    assert parse(header) == {
        **PARAMETERS,
        "realm": "ADM",
        "oauth_signature": "Wl1MFd88BBe9uBsu4aS0nROPcOQ=",
    }


def test_the_realm_is_optional_and_not_signed() -> None:
    header = authorization_header(TOKEN, "GET", URL, timestamp=1700000000, nonce=NONCE, realm=None).reveal()
    assert "realm" not in header
    assert parse(header)["oauth_signature"] == "Wl1MFd88BBe9uBsu4aS0nROPcOQ="


def test_secrets_are_not_in_the_header() -> None:
    header = authorization_header(TOKEN, "GET", URL, timestamp=1700000000, nonce=NONCE).reveal()
    assert "CS_1" not in header
    assert "AS_1" not in header


def test_a_received_signature_is_not_signed() -> None:
    assert base_string("GET", URL, {**PARAMETERS, "oauth_signature": "x"}) == BASE


def test_the_example_of_the_standard() -> None:
    """RFC 5849, 3.4.1.1, without the body parameters that this service has not."""
    url = "HTTP://EXAMPLE.COM:80/request?b5=%3D%253D&a3=a&c%40=&a2=r%20b#fragment"
    assert base_string("post", url, {"oauth_version": "1.0"}) == (
        "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3Da%26b5%3D%253D%25253D%26c%2540%3D"
        "%26oauth_version%3D1.0"
    )


@each(
    ("url", "address"),
    [
        ("http://127.0.0.1:8080/session", "http://127.0.0.1:8080/session"),
        ("https://example.com:443", "https://example.com/"),
        ("https://example.com:80/a%20b", "https://example.com:80/a%20b"),
        ("http://[::1]:8080/session", "http://[::1]:8080/session"),
    ],
)
def test_addresses(url: str, address: str) -> None:
    assert base_string("GET", url, {}) == f"GET&{percent_encode(address)}&"


@given(TEXT)
def test_percent_encoding(text: str) -> None:
    encoded = percent_encode(text)
    assert unquote(encoded) == text
    assert set(encoded) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%")


@given(
    parameters=st.dictionaries(ASCII.map(lambda key: f"oauth_{key}"), TEXT, max_size=6),
    query=st.lists(st.tuples(TEXT, TEXT), max_size=4),
    secrets=st.tuples(ASCII, ASCII),
    port=st.sampled_from(["", ":443", ":80", ":8443"]),
    method=st.sampled_from(["GET", "post"]),
)
def test_another_implementation_agrees(
    parameters: dict[str, str], query: list[tuple[str, str]], secrets: tuple[str, str], port: str, method: str
) -> None:
    other: Any = pytest.importorskip("oauthlib.oauth1.rfc5849.signature")
    common: Any = pytest.importorskip("oauthlib.common")
    parameters.pop("oauth_signature", None)
    text = "&".join(f"{percent_encode(key)}={percent_encode(value)}" for key, value in query)
    url = f"https://Example.com{port}/session" + (f"?{text}" if text else "")
    pairs = other.collect_parameters(uri_query=text, with_realm=False) + list(parameters.items())
    expected = other.signature_base_string(
        method, other.base_string_uri(url), other.normalize_parameters(pairs)
    )
    assert base_string(method, url, parameters) == expected
    request = common.Request(url, method)
    request.params = pairs
    request.signature = signature(method, url, parameters, *secrets)
    assert other.verify_hmac_sha1(request, *secrets)


@given(secret=ASCII, key=ASCII, nonce=ASCII)
def test_another_implementation_signs_the_same_header(secret: str, key: str, nonce: str) -> None:
    oauth1: Any = pytest.importorskip("oauthlib.oauth1")
    token = attrs.evolve(TOKEN, consumer_key=f"CK_{key}", access_secret=f"AS_{secret}")
    client = oauth1.Client(
        token.consumer_key,
        token.consumer_secret.reveal(),
        token.access_token.reveal(),
        token.access_secret.reveal(),
        realm="ADM",
        nonce=nonce,
        timestamp="1700000000",
    )
    _, headers, _ = client.sign(URL)
    ours = authorization_header(token, "GET", URL, timestamp=1700000000, nonce=nonce).reveal()
    assert parse(ours) == parse(headers["Authorization"])
