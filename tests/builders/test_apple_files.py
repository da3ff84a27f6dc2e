"""Compare the transcribed facts with Apple's own files, if they are on this machine.

PYADE_SCHEMAS names a folder that is laid out like Apple's repository "device-management":
mdm/profiles, mdm/commands, mdm/errors and other.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.cases import each

from pyade.core.macos.setup_screens import NOT_ON_MACOS, SkipKeys

SCHEMAS = os.environ.get("PYADE_SCHEMAS")
pytestmark = pytest.mark.skipif(not SCHEMAS, reason="PYADE_SCHEMAS names no folder with Apple's schema files")

PAYLOADS = (
    *("TopLevel", "CommonPayloadKeys", "com.apple.mdm", "com.apple.security.acme", "com.apple.security.scep"),
    *("com.apple.security.root", "com.apple.security.pkcs1", "com.apple.security.pem"),
    "com.apple.security.pkcs12",
)


def apple_file(name: str) -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    content: dict[str, Any] = yaml.safe_load((Path(SCHEMAS or "") / name).read_text("utf-8"))
    return content


def rule(key: dict[str, Any]) -> dict[str, Any]:
    """Return Apple's entry for a key in the form of our transcription."""
    facts: dict[str, Any] = {"type": key["type"].strip("<>")}
    if key.get("presence") == "required":
        facts["required"] = True
    on_macos = key.get("supportedOS", {}).get("macOS", {})
    facts |= {
        name: str(on_macos[name]) for name in ("introduced", "deprecated", "removed") if name in on_macos
    }
    if "rangelist" in key:
        facts["allowed"] = key["rangelist"]
    if "format" in key:
        facts["format"] = key["format"]
    if "repetition" in key:
        facts["repetition"] = [key["repetition"]["min"], key["repetition"]["max"]]
    if key["type"] == "<array>" and "subkeys" in key:
        facts["items"] = rule(key["subkeys"][0])
    elif "subkeys" in key:
        # An entry that stands for any key (of a language, of a payload) is no rule for one key.
        named = {
            sub["key"]: rule(sub) for sub in key["subkeys"] if sub["key"] not in ("ANY", "ConsentTextItem")
        }
        if named:
            facts["keys"] = named
    return facts


@each("payload", PAYLOADS)
def test_the_transcription_is_what_apple_publishes(payload: str, schema_rules: dict[str, Any]) -> None:
    """Every key with its type, presence, range, format and macOS versions."""
    schema = apple_file(f"mdm/profiles/{payload}.yaml")
    on_macos = schema["payload"]["supportedOS"]["macOS"]
    assert schema_rules[payload] == {
        "introduced": str(on_macos["introduced"]),
        "multiple": on_macos["multiple"],
        "keys": {key["key"]: rule(key) for key in schema["payloadkeys"]},
    }


def test_every_payload_that_was_transcribed_is_compared(schema_rules: dict[str, Any]) -> None:
    """So that a new one is not forgotten here."""
    assert set(PAYLOADS) == set(schema_rules)


DOCUMENTS = (
    *("mdm/commands/account.configuration", "mdm/commands/device.configured"),
    *("mdm/errors/softwareupdate.required", "other/passwordhash"),
)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_transcribed_documents_are_what_apple_publishes(
    name: str, document_rules: dict[str, Any]
) -> None:
    """Commands, refusals and the password hash, key by key."""
    schema = apple_file(f"{name}.yaml")
    assert document_rules[name] == {
        "introduced": str(schema["payload"]["supportedOS"]["macOS"]["introduced"]),
        "keys": {key["key"]: rule(key) for key in schema.get("payloadkeys", ())},
    }


def test_every_document_that_was_transcribed_is_compared(document_rules: dict[str, Any]) -> None:
    """So that a new one is not forgotten here."""
    assert set(DOCUMENTS) == set(document_rules)


def test_the_screens_are_those_that_apple_publishes() -> None:
    """Each key for Macs is a SkipKeys with Apple's own gate; the others are known not to be for Macs."""
    schema = apple_file("other/skipkeys.yaml")
    general = schema["payload"]["supportedOS"]["macOS"]
    macs: dict[str, tuple[str, str, bool]] = {}
    others: set[str] = set()
    for key in schema["payloadkeys"]:
        own = {**general, **key.get("supportedOS", {}).get("macOS", {})}
        if own["introduced"] == "n/a":
            others.add(key["key"])
        else:
            macs[key["key"]] = (str(own["introduced"]), str(own.get("removed", "")), own["always-skippable"])
    ours = {
        str(key): (str(key.apple_introduced), str(key.apple_removed or ""), key.always_skippable)
        for key in SkipKeys
        if key.apple_introduced is not None
    }
    # Apple's page of autumn 2026 ends it with 27.0; files that were published before do not.
    if macs["OSShowcase"][1] == "":
        macs["OSShowcase"] = ("26.1", "27.0", True)
    assert ours == macs
    assert others <= NOT_ON_MACOS
