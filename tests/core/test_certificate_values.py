"""Values that should be a certificate and are not: each is named, with a fix, and never shown."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade.builders.dep_profile import from_apple
from pyade.core.certificate_values import check_base64, check_der, pem_problem
from pyade.core.problems import Problem
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import ProfileError

DER = b"0\x03\x02\x01\x05"
BODY = base64.b64encode(DER).decode()


def pem(label: str, body: str = BODY, *, end: bool = True) -> str:
    return f"-----BEGIN {label}-----\n{body}\n" + (f"-----END {label}-----\n" if end else "")


MISTAKEN = [
    (pem("CERTIFICATE"), "", "PEM", "between the BEGIN and END lines"),
    (pem("CERTIFICATE") * 2, "", "one certificate, not 2", "by itself"),
    (pem("TRUSTED CERTIFICATE"), "BEGIN TRUSTED CERTIFICATE", "OpenSSL", "openssl x509"),
    (pem("PRIVATE KEY"), "BEGIN PRIVATE KEY", "a private key", "replace the key"),
    (pem("RSA PRIVATE KEY"), "BEGIN RSA PRIVATE KEY", "a private key", "replace the key"),
    (pem("CERTIFICATE") + pem("EC PRIVATE KEY"), "BEGIN EC PRIVATE KEY", "a private key", "replace the key"),
    (pem("CERTIFICATE REQUEST"), "BEGIN CERTIFICATE REQUEST", "a request", "was issued"),
    (pem("X509 CRL"), "BEGIN X509 CRL", "revoked certificates", "itself"),
    (pem("PKCS7"), "BEGIN PKCS7", "a container", "openssl pkcs7"),
    (pem("PUBLIC KEY"), "BEGIN PUBLIC KEY", "a public key", "certificate"),
    (pem("CERTIFICATE", end=False), "", "cut short", "copy the file again"),
    ("-----BEGIN CERTIF", "", "cut short", "copy the file again"),
]


def of_profile(**settings: Any) -> list[Problem]:
    with pytest.raises(ProfileError) as caught:
        EnrollmentProfile(name="Mac", url="https://mdm.contoso.com/enroll", **settings)
    return list(caught.value.problems)


def of_apple(key: str, text: str) -> list[Problem]:
    with pytest.raises(ProfileError) as caught:
        from_apple({"profile_name": "Mac", "url": "https://mdm.contoso.com/enroll", key: [text]})
    return list(caught.value.problems)


@each("text, value, what, fix", MISTAKEN)
def test_pem_is_named_wherever_one_certificate_is_needed(text: str, value: str, what: str, fix: str) -> None:
    """As DER, as Apple's base64 of anchors, and as base64 of the certificates of supervising hosts."""
    found = {
        "anchor_certificates[0]": of_profile(anchor_certificates=[text.encode()]),
        "anchor_certs[0]": of_apple("anchor_certs", text),
        "extra.supervising_host_certs[0]": of_apple("supervising_host_certs", text),
        "extra.supervising_host_certs[1]": of_profile(extra={"supervising_host_certs": [BODY, text]}),
    }
    for setting, (problem, *more) in found.items():
        assert (problem.setting, problem.value, more) == (setting, value, [])
        assert what in problem.allowed
        assert fix in problem.fix
        assert BODY not in str(problem)


@each("text", ["", " ", "\n"])
def test_an_empty_certificate_is_none(text: str) -> None:
    """Apple would refuse the whole profile for it."""
    for key, setting in (
        ("anchor_certs", "anchor_certs[0]"),
        ("supervising_host_certs", "extra.supervising_host_certs[0]"),
    ):
        (problem,) = of_apple(key, text)
        assert (problem.setting, problem.allowed) == (setting, "a certificate, not an empty value")
        assert "remove it" in problem.fix
    (problem,) = of_profile(anchor_certificates=[text.encode()])
    assert problem.allowed == "a certificate, not an empty value"


@each("value", ["MII", 7, {"a": 1}, True, [7], [None], [[BODY]]])
def test_certificates_of_hosts_are_a_list_of_texts(value: Any) -> None:
    """Also where there is only one."""
    assert [problem.setting for problem in of_profile(extra={"supervising_host_certs": value})] == [
        "extra.supervising_host_certs"
    ]


@each(
    "text",
    ["MII", "€", "M", base64.b64encode(b"text").decode(), base64.b64encode(pem("X").encode()).decode()],
)
def test_what_is_no_base64_of_der_is_refused(text: str) -> None:
    """Also a PEM file in base64, where the file was encoded as it was."""
    assert [problem.setting for problem in check_base64("here", text)] == ["here"]


@each("value", [None, [], [BODY], (BODY,), [f"{BODY[:4]}\n{BODY[4:]}"], ["MAD_"], [BODY, BODY]])
def test_certificates_of_hosts_are_kept_unchanged(value: Any) -> None:
    """Lines and the alphabet for URLs are as good at Apple."""
    profile = EnrollmentProfile(
        name="Mac", url="https://mdm.contoso.com/enroll", extra={"supervising_host_certs": value}
    )
    assert profile.extra == {"supervising_host_certs": value}


def test_the_old_label_is_a_certificate() -> None:
    """Where PEM is needed; other blocks are named, and several certificates are fine there."""
    assert pem_problem("here", pem("X509 CERTIFICATE") * 2 + pem("EC PARAMETERS")) is None
    assert pem_problem("here", "no PEM at all") is None
    found = pem_problem("here", pem("CERTIFICATE") + pem("CERTIFICATE", end=False))
    assert found is not None
    assert "cut short" in found.allowed


@given(st.binary(max_size=40) | st.binary(max_size=30).map(lambda data: b"-----BEGIN " + data))
def test_any_bytes_have_at_most_one_problem(data: bytes) -> None:
    """And only what begins as DER has none."""
    found = list(check_der("here", data))
    assert len(found) == (0 if data.startswith(b"0") else 1)
