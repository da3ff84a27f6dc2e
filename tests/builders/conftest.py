"""Apple's schema rules as data, a reader of them that shares no code with pyade, and parts of a profile."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from pyade.builders.payloads import AcmeIssuer, MdmService, ScepIssuer
from pyade.core.macos.versions import MacOSVersion
from pyade.core.profile.profile import EnrollmentProfile

Rules = dict[str, Any]
Violations = Callable[[Mapping[str, Any], MacOSVersion | None], list[str]]
DocumentViolations = Callable[[str, Mapping[str, Any], MacOSVersion | None], list[str]]

TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "array": (list,),
    "dictionary": (dict,),
    "data": (bytes,),
    "date": (datetime,),
    "real": (float, int),
}


@pytest.fixture(scope="session")
def schema_rules() -> Rules:
    """Apple's rules for each payload type, transcribed."""
    text = (Path(__file__).parent / "apple_schema_rules.json").read_text("utf-8")
    rules: Rules = json.loads(text)["payloads"]
    return rules


@pytest.fixture(scope="session")
def violations(schema_rules: Rules) -> Violations:
    """Return what Apple's schema objects to in a profile for that version of macOS (None: for any)."""

    def check(plist: Mapping[str, Any], version: MacOSVersion | None) -> list[str]:
        found = list(_in_dictionary("TopLevel", plist, schema_rules["TopLevel"]["keys"], version))
        types = [payload["PayloadType"] for payload in plist["PayloadContent"]]
        for payload in plist["PayloadContent"]:
            where = payload["PayloadType"]
            rules = schema_rules[where]
            if version is not None and version < MacOSVersion.of(_readable(rules["introduced"])):
                found.append(f"{where}: not on {version}")
            if not rules["multiple"] and types.count(where) > 1:
                found.append(f"{where}: more than once")
            keys = {**schema_rules["CommonPayloadKeys"]["keys"], **rules["keys"]}
            found += _in_dictionary(where, payload, keys, version)
        return found

    return check


@pytest.fixture(scope="session")
def document_rules() -> Rules:
    """Apple's rules for commands, refusals and other documents, by the name of Apple's file."""
    text = (Path(__file__).parent / "apple_schema_rules.json").read_text("utf-8")
    rules: Rules = json.loads(text)["documents"]
    return rules


@pytest.fixture(scope="session")
def document_violations(document_rules: Rules) -> DocumentViolations:
    """Return what Apple's schema of that name objects to in a document for that version of macOS."""

    def check(name: str, document: Mapping[str, Any], version: MacOSVersion | None) -> list[str]:
        rules = document_rules[name]
        found = list(_in_dictionary(name, document, rules["keys"], version))
        if version is not None and version < MacOSVersion.of(rules["introduced"]):
            found.append(f"{name}: not on {version}")
        return found

    return check


def _in_dictionary(
    where: str, values: Mapping[str, Any], keys: Rules, version: MacOSVersion | None
) -> Iterator[str]:
    for name in keys:
        if keys[name].get("required") and name not in values:
            yield f"{where}.{name}: missing"
    for name, value in values.items():
        if name in keys:
            yield from _in_value(f"{where}.{name}", value, keys[name], version)
        else:
            yield f"{where}.{name}: not in the schema"


def _in_value(where: str, value: Any, rule: Rules, version: MacOSVersion | None) -> Iterator[str]:
    is_flag = isinstance(value, bool)
    if is_flag != (rule["type"] == "boolean") or not issubclass(type(value), TYPES[rule["type"]]):
        yield f"{where}: {type(value).__name__} instead of {rule['type']}"
        return
    if "allowed" in rule and value not in rule["allowed"]:
        yield f"{where}: {value!r} not allowed"
    if "format" in rule and not re.search(rule["format"], value):
        yield f"{where}: {value!r} has the wrong format"
    if not _exists(rule, version):
        yield f"{where}: not on macOS {version}"
    if "keys" in rule:
        yield from _in_dictionary(where, value, rule["keys"], version)
    if "items" in rule:
        low, high = rule["items"].get("repetition", (0, len(value)))
        if not low <= len(value) <= high:
            yield f"{where}: {len(value)} items"
        for item in value:
            yield from _in_value(f"{where}[]", item, rule["items"], version)


def _exists(rule: Rules, version: MacOSVersion | None) -> bool:
    if rule.get("introduced") == "n/a" or version is None:
        return rule.get("introduced") != "n/a"
    introduced, removed = _readable(rule.get("introduced", "10.9")), rule.get("removed")
    return MacOSVersion.of(introduced) <= version and (removed is None or version < MacOSVersion.of(removed))


def _readable(version: str) -> str:
    # pyade knows macOS from 10.9 on, where Automated Device Enrollment began.
    return "10.9" if version in ("10.7", "10.8") else version


def _certificate(name: str, issuer: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (name, issuer)]
    builder = (
        x509.CertificateBuilder().subject_name(names[0]).issuer_name(names[1]).public_key(key.public_key())
    )
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(datetime(2024, 1, 1, tzinfo=UTC))
    builder = builder.not_valid_after(datetime(2034, 1, 1, tzinfo=UTC))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.fixture(scope="session")
def root_der() -> bytes:
    """A certificate that signed itself."""
    return _certificate("Contoso Root", "Contoso Root")


@pytest.fixture(scope="session")
def intermediate_der() -> bytes:
    """A certificate that another one signed."""
    return _certificate("Contoso Issuing", "Contoso Root")


@pytest.fixture
def profile() -> EnrollmentProfile:
    """A profile without anything special."""
    return EnrollmentProfile(name="Standard Mac", url="https://mdm.contoso.com/enroll")


@pytest.fixture
def service() -> MdmService:
    """A device management service."""
    return MdmService(
        identifier="com.contoso.mdm",
        organization="Contoso",
        server_url="https://mdm.contoso.com/server",
        check_in_url="https://mdm.contoso.com/checkin",
        topic="com.apple.mgmt.External.0c1d2e3f",
    )


@pytest.fixture
def acme() -> AcmeIssuer:
    """An ACME server that wants attestations."""
    return AcmeIssuer(directory_url="https://acme.contoso.com/directory", client_identifier="one-time-client")


@pytest.fixture
def scep() -> ScepIssuer:
    """A SCEP server."""
    return ScepIssuer(url="https://scep.contoso.com/scep", challenge="one-time-challenge", name="Contoso")
