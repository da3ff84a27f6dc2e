"""Find values that should be one certificate, in a profile or a file, and are something else.

Only the format is checked: the label of a PEM block, whether base64 can be decoded, and the first byte of
DER. No problem shows any content of a value, since it may be a private key.

Source: RFC 7468 for the labels; ``TRUSTED CERTIFICATE`` is OpenSSL's own (``openssl x509 -trustout``).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Final

from pyade.core.problems import Problem

CERTIFICATE_LABELS: Final = frozenset({"CERTIFICATE", "X509 CERTIFICATE"})
"""The labels of a certificate in PEM; the second one is outdated."""

_BEGIN: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_MARK: Final = "-----BEGIN"
_ISSUED: Final = "use the certificate that was issued for it"
_OTHER_LABELS: Final = {
    "TRUSTED CERTIFICATE": (
        "OpenSSL's own format, which holds trust settings too and which Apple cannot read",
        "write the certificate alone: openssl x509 -in FILE -outform DER, or PEM where PEM is needed",
    ),
    "CERTIFICATE REQUEST": ("a request for a certificate", _ISSUED),
    "NEW CERTIFICATE REQUEST": ("a request for a certificate", _ISSUED),
    "X509 CRL": ("a list of revoked certificates", "use the certificate itself"),
    "PKCS7": ("a container", "take the certificate out: openssl pkcs7 -in FILE -print_certs"),
    "CMS": ("a container", "take the certificate out: openssl cms -in FILE -cmsout -outform DER"),
    "PUBLIC KEY": ("a public key", "use the certificate for it"),
    "RSA PUBLIC KEY": ("a public key", "use the certificate for it"),
}


def mistaken_label(label: str) -> tuple[str, str] | None:
    """Return what a PEM block with that label is, and what to do; None if it may be a certificate."""
    if label.endswith("PRIVATE KEY"):
        return "a private key", "remove it, and replace the key: it was exposed"
    return _OTHER_LABELS.get(label)


def pem_problem(setting: str, text: str) -> Problem | None:
    """Return the problem of PEM *text* where certificates in PEM are needed; None if there is none."""
    problems = [_label_problem(setting, label, "a certificate in PEM") for label in _BEGIN.findall(text)]
    found = next((problem for problem in problems if problem is not None), None)
    if found is None and text.count(_MARK) != text.count("-----END "):
        return Problem(setting, "", "PEM with an END line, not cut short", "copy the file again")
    return found


def check_der(setting: str, data: bytes) -> Iterator[Problem]:
    """Yield the problems of *data* where one certificate in DER is needed."""
    if not data.strip():
        yield Problem(setting, "", "a certificate, not an empty value", "remove it, or pass the certificate")
    elif data.lstrip().startswith(_MARK.encode()):
        yield _problem_of_pem(setting, data.decode("ascii", "replace"), "DER, not PEM")
    elif not data.startswith(b"0"):  # The tag of an ASN.1 SEQUENCE.
        yield Problem(setting, "", "a DER certificate", "pass the bytes of the certificate itself")


def check_base64(setting: str, text: str) -> Iterator[Problem]:
    """Yield the problems of *text* where one certificate in base64 of DER is needed."""
    if _MARK in text:
        yield _problem_of_pem(setting, text, "base64 of DER, not PEM")
        return
    try:
        data = base64.b64decode(plain_base64(text), validate=True)
    except (binascii.Error, ValueError):
        fix = "write base64 of the DER certificate, without BEGIN and END lines"
        yield Problem(setting, "", "base64 of a certificate in DER", fix)
    else:
        yield from check_der(setting, data)


def check_all_base64(setting: str, value: object) -> Iterator[Problem]:
    """Yield the problems of *value* where a list of certificates in base64 of DER is needed."""
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        allowed = f"a list of certificates in base64 of DER, not {type(value).__name__}"
        yield Problem(setting, "", allowed, "write a list of texts, also for one certificate")
        return
    for index, item in enumerate(value):
        yield from check_base64(f"{setting}[{index}]", item)


def plain_base64(text: str) -> str:
    """Return *text* on one line in the standard alphabet: some products wrap lines, or use that of URLs."""
    return "".join(text.split()).replace("-", "+").replace("_", "/")


def _problem_of_pem(setting: str, text: str, allowed: str) -> Problem:
    labels = _BEGIN.findall(text)
    for label in labels:
        if problem := _label_problem(setting, label, allowed):
            return problem
    if not labels or text.count("-----END ") < len(labels):
        return Problem(
            setting, "", f"{allowed}; and it is cut short", "copy the file again, up to its END line"
        )
    if len(labels) > 1:
        fix = "pass each certificate by itself"
        return Problem(setting, "", f"{allowed}, and one certificate, not {len(labels)}", fix)
    fix = "decode the base64 between the BEGIN and END lines"
    if allowed.startswith("base64"):
        fix = "keep only the base64 between the BEGIN and END lines"
    return Problem(setting, "", allowed, fix)


def _label_problem(setting: str, label: str, allowed: str) -> Problem | None:
    found = mistaken_label(label)
    return found and Problem(setting, f"BEGIN {label}", f"{allowed}, not {found[0]}", found[1])
