"""Plain JSON forms of what stores keep, and the rows around them.

A document leaves out what has no value, so that a store written by an older pyade reads as if the newer
fields had their defaults. Secrets stand apart from their document, so that they alone need encryption.

Whatever is wrong with a row becomes ``DamagedRecordError``, which names the token and the place and quotes
nothing: the row may hold a secret.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import attrs
import msgspec

from pyade.builders.document import profile_from_document, profile_to_document
from pyade.core.device import Device
from pyade.core.enrollment import Enrollment, OneTime, OneTimeKind
from pyade.core.events import EventBatch, decode_groups
from pyade.core.inventory import DeviceRecord, SyncState
from pyade.core.lease import Lease
from pyade.core.profile import EnrollmentProfile
from pyade.core.token import Token
from pyade.errors import DamagedRecordError, ProfileError, StoreError, StoreVersionError
from pyade.storage.database import Value
from pyade.storage.protocol import DefinedProfile

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
_PLACE = re.compile(r" - at `([^`]*)`$")


def record_row(token_id: int, record: DeviceRecord) -> tuple[Value, ...]:
    """Return the row of *record*, in the order of ``schema.DEVICES``, with unknown values and extra keys."""
    source = record.device
    device = {name: value for name in _DEVICE_FIELDS if (value := getattr(source, name)) is not None}
    if source.extra:
        device["extra"] = source.extra
    document = {name: value for name in _RECORD_FIELDS if (value := getattr(record, name)) is not None}
    document["device"] = device
    return (
        token_id,
        source.serial_number,
        source.model,
        None if source.profile_status is None else str(source.profile_status),
        source.profile_uuid,
        record.released_at,
        record.deleted_at,
        record.full_sync,
        _to_text(document),
    )


def decode_record(text: str, token_name: str = "") -> DeviceRecord:
    """Return the record of a document in a row that ``record_row`` made."""
    return _read("the record of a device", token_name, _record_decoder.decode, text)


def encode_state(state: SyncState) -> str:
    """Return the document of *state*."""
    return _to_text(state)


def decode_state(text: str | None, token_name: str) -> SyncState:
    """Return the state of a document made by ``encode_state``; ``SyncState()`` where there is none."""
    if text is None:
        return SyncState()
    return _read("the sync state", token_name, _state_decoder.decode, text)


def encode_token(token: Token) -> tuple[str, str]:
    """Return two documents: what anybody may see of *token*, and its secrets."""
    document: dict[str, Any] = {field.name: getattr(token, field.name) for field in attrs.fields(Token)}
    secrets = {name: document.pop(name) for name in TOKEN_SECRETS}
    return _to_text(document), _to_text(secrets)


def decode_token(name: str, text: str, secrets: str) -> Token:
    """Return the token of two documents made by ``encode_token``."""
    return _read("the token", name, _token, text, secrets)


def encode_profile(profile: EnrollmentProfile) -> tuple[str, str | None]:
    """Return two texts: the document of *profile*, and its secret, the hash of a password, if it has one."""
    document = profile_to_document(profile)
    administrator = profile.administrator
    if administrator is None or not administrator.password_hash:
        return _to_text(document), None
    secret = document["administrator"]["password_hash"]
    document["administrator"]["password_hash"] = ""
    return _to_text(document), secret


def decode_profile(token_name: str, text: str, secret: str | None) -> EnrollmentProfile:
    """Return the profile of two texts made by ``encode_profile``."""
    return _read("a profile", token_name, _profile, text, secret)


def defined_profile(token_name: str, row: Sequence[Any], open_: Callable[[str], str]) -> DefinedProfile:
    """Return the profile of a row of profile_uuid, digest, defined_at, individual, document and secrets."""
    profile_uuid, digest, defined_at, individual, document, secret = row
    return DefinedProfile(
        profile_uuid=profile_uuid,
        profile=decode_profile(token_name, document, None if secret is None else open_(secret)),
        digest=digest,
        defined_at=_read("a profile", token_name, as_time, defined_at),
        individual=bool(individual),
    )


def encode_enrollment(enrollment: Enrollment) -> str:
    """Return the document of *enrollment*."""
    return _to_text(enrollment)


def decode_enrollment(serial_number: str, text: str) -> Enrollment:
    """Return the enrollment of a document made by ``encode_enrollment``."""
    return _read(f"the enrollment of {serial_number!r}", "", _enrollment_decoder.decode, text)


def one_time_row(one_time: OneTime) -> tuple[Value, ...]:
    """Return the row of *one_time*: kind, digest, serial_number, expires_at and value."""
    value = _to_text(one_time.value)
    return one_time.kind.value, one_time.digest, one_time.serial_number, one_time.expires_at, value


def decode_one_time(row: Sequence[Any]) -> OneTime:
    """Return what a row that ``one_time_row`` made says."""
    return _read(f"what {row[2]!r} may use once", "", _one_time, *row)


def decode_batch(row: Sequence[Any]) -> EventBatch:
    """Return the events of a row of transaction_number, id, token_name, at and document."""
    transaction, row_id, token_name, at, document = row
    return _read(f"event {transaction}-{row_id}", token_name, _batch, token_name, at, document)


def decode_revision(token_name: str, value: object) -> int:
    """Return the revision of a sync state."""
    found: int = _read("the sync state", token_name, msgspec.convert, value, int)
    return found


def decode_lease(token_name: str, row: Sequence[Any]) -> Lease:
    """Return the lease of a row of fence, owner and expires_at."""
    fence, owner, ends = row
    expires_at = _read("the lease", token_name, as_time, ends)
    return Lease(token_name=token_name, owner=owner, fence=fence, expires_at=expires_at)


def as_time(value: datetime | str) -> datetime:
    """Return a time as a database gives it back, UTC."""
    found = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return found.astimezone(UTC)


def _token(text: str, secrets: str) -> Token:
    return msgspec.convert(_object_decoder.decode(text) | _object_decoder.decode(secrets), Token)


def _profile(text: str, secret: str | None) -> EnrollmentProfile:
    document = _object_decoder.decode(text)
    if secret is not None:
        base64.b64decode(secret, validate=True)
        document["administrator"]["password_hash"] = secret
    return profile_from_document(document)


def _one_time(kind: str, digest: str, serial_number: str, expires_at: datetime | str, value: str) -> OneTime:
    return OneTime(
        kind=OneTimeKind(kind),
        digest=digest,
        serial_number=serial_number,
        expires_at=as_time(expires_at),
        value=_object_decoder.decode(value),
    )


def _batch(token_name: str, at: datetime | str, document: str) -> EventBatch:
    return EventBatch(token_name, as_time(at), decode_groups(document))


def _to_text(value: Any) -> str:
    try:
        return _encode(value).decode()
    except (TypeError, UnicodeEncodeError) as exc:
        kind = type(exc).__name__
    raise StoreError(f"a value has no JSON form: {kind}")


def _read(what: str, token_name: str, decode: Callable[..., T], *values: Any) -> T:
    try:
        return decode(*values)
    except StoreVersionError:
        raise
    except (msgspec.MsgspecError, ProfileError, StoreError, ValueError, TypeError, LookupError) as exc:
        place = _PLACE.search(str(exc))
    # Outside the block above: what the decoder says may quote the row, and would hang on this error.
    whose = f" of token {token_name!r}" if token_name else ""
    where = f" at {place[1]}" if place else ""
    raise DamagedRecordError(
        f"{what}{whose} is stored, but cannot be read{where}: restore a backup, or store it anew",
        token_name=token_name,
    )
