"""Plain JSON forms of what stores keep, shared by every store that writes to a database.

A document leaves out what has no value, so that a store written by an older pyade reads as if the newer
fields had their defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import attrs
import msgspec

from pyade.builders.document import profile_from_document, profile_to_document
from pyade.core.device import Device
from pyade.core.enrollment import Enrollment
from pyade.core.inventory import DeviceRecord, SyncState
from pyade.core.profile import EnrollmentProfile
from pyade.core.token import Token
from pyade.errors import StoreError

T = TypeVar("T")

TOKEN_SECRETS = ("consumer_secret", "access_token", "access_secret")
"""The fields of a token that are kept apart from the rest, so that they alone need encryption."""

_DEVICE_FIELDS = tuple(field.name for field in attrs.fields(Device) if field.name != "extra")
_RECORD_FIELDS = tuple(field.name for field in attrs.fields(DeviceRecord) if field.name != "device")
_encode = msgspec.json.Encoder().encode
_record_decoder = msgspec.json.Decoder(DeviceRecord)
_state_decoder = msgspec.json.Decoder(SyncState)
_enrollment_decoder = msgspec.json.Decoder(Enrollment)
_object_decoder = msgspec.json.Decoder(dict[str, Any])


def encode_record(record: DeviceRecord) -> str:
    """Return the document of *record*, unknown values and extra keys included."""
    device = {name: value for name in _DEVICE_FIELDS if (value := getattr(record.device, name)) is not None}
    if record.device.extra:
        device["extra"] = record.device.extra
    document = {name: value for name in _RECORD_FIELDS if (value := getattr(record, name)) is not None}
    document["device"] = device
    return _to_text(document)


def decode_record(text: str) -> DeviceRecord:
    """Return the record of a document made by ``encode_record``."""
    return _from_text(text, _record_decoder)


def encode_state(state: SyncState) -> str:
    """Return the document of *state*."""
    return _to_text(state)


def decode_state(text: str) -> SyncState:
    """Return the state of a document made by ``encode_state``."""
    return _from_text(text, _state_decoder)


def encode_token(token: Token) -> tuple[str, str]:
    """Return two documents: what anybody may see of *token*, and its secrets."""
    document: dict[str, Any] = {field.name: getattr(token, field.name) for field in attrs.fields(Token)}
    secrets = {name: document.pop(name) for name in TOKEN_SECRETS}
    return _to_text(document), _to_text(secrets)


def decode_token(text: str, secrets: str) -> Token:
    """Return the token of two documents made by ``encode_token``."""
    parts = decode_object(text) | decode_object(secrets)
    try:
        return msgspec.convert(parts, Token)
    except msgspec.ValidationError as exc:
        raise StoreError(f"a stored token cannot be read: {exc}") from exc


def encode_profile(profile: EnrollmentProfile) -> str:
    """Return the document of *profile*."""
    return _to_text(profile_to_document(profile))


def decode_profile(text: str) -> EnrollmentProfile:
    """Return the profile of a document made by ``encode_profile``."""
    return profile_from_document(decode_object(text))


def encode_enrollment(enrollment: Enrollment) -> str:
    """Return the document of *enrollment*."""
    return _to_text(enrollment)


def decode_enrollment(text: str) -> Enrollment:
    """Return the enrollment of a document made by ``encode_enrollment``."""
    return _from_text(text, _enrollment_decoder)


def encode_object(value: Mapping[str, Any]) -> str:
    """Return the document of plain JSON values."""
    return _to_text(value)


def decode_object(text: str) -> dict[str, Any]:
    """Return what ``encode_object`` wrote."""
    return _from_text(text, _object_decoder)


def _to_text(value: Any) -> str:
    try:
        return _encode(value).decode()
    except (TypeError, UnicodeEncodeError) as exc:
        raise StoreError(f"a value has no JSON form: {type(exc).__name__}") from None


def _from_text(text: str, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        return decoder.decode(text)
    except msgspec.DecodeError as exc:
        raise StoreError(f"a stored document cannot be read: {exc}") from exc
