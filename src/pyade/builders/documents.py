"""Convert records, tokens and profiles to the JSON documents and rows of a store, and back.

The rules of this file:

1. A document omits fields without a value, so a store that an older pyade wrote reads with the defaults of
   newer fields.
2. Secrets are separate from their document, so that only they need encryption.
3. Any problem of a row raises ``DamagedRecordError``, which names the token and the place but quotes nothing,
   because the row may contain a secret.
4. The document of an enrollment profile is lossless, unlike Apple's JSON: it has the description, kind of
   sign-in, account settings, the given value of a setting that other settings switch on, and the spelling of
   Apple's own JSON. Times and secrets are not part of a profile; a password is there only as its hash.
"""

from __future__ import annotations

import base64
import copy
import functools
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import attrs
import msgspec

from pyade.core.arguments import check_arguments
from pyade.core.fleet.device import Device, read_device
from pyade.core.fleet.enrollment import Enrollment, OneTime, OneTimeKind
from pyade.core.fleet.events import EventBatch, decode_groups
from pyade.core.fleet.groups import GROUPED_BY, DeviceGroup
from pyade.core.fleet.lease import Lease
from pyade.core.fleet.outcomes import Attempt
from pyade.core.fleet.records import DeviceRecord, SyncState
from pyade.core.problems import Problem
from pyade.core.profile.accounts import AdministratorAccount, PrimaryAccount
from pyade.core.profile.affinity import AffinityKind, UserAffinity
from pyade.core.profile.profile import DefinedProfile, EnrollmentProfile
from pyade.core.profile.settings import given
from pyade.core.secret import Secret, masked
from pyade.core.token import Token
from pyade.errors import DamagedRecordError, ProfileError, PyadeError, StoreError, StoreVersionError

T = TypeVar("T")

VERSION = 1
"""The version of the documents of profiles that this pyade writes."""


@check_arguments
def profile_to_document(profile: EnrollmentProfile) -> dict[str, Any]:
    """Return all of *profile* as JSON types, in a fixed order."""
    primary, administrator = profile.primary_account, profile.administrator
    return {
        "version": VERSION,
        **{name: given(profile, name) for name in _PLAIN},  # rule 4
        "user_affinity": {"kind": str(profile.user_affinity.kind), "web_url": profile.user_affinity.web_url},
        "primary_account": None if primary is None else attrs.asdict(primary),
        "administrator": None
        if administrator is None
        else {**attrs.asdict(administrator), "password_hash": _to_base64(administrator.password_hash)},
        "skip": sorted(map(str, profile.skip)),
        "anchor_certificates": [_to_base64(der) for der in profile.anchor_certificates],
        "extra": dict(profile.extra),
        "apple_spelling": dict(profile.apple_spelling),
        "apple_keys": None if profile.apple_keys is None else sorted(profile.apple_keys),
    }


@check_arguments
def profile_from_document(document: Mapping[str, Any]) -> EnrollmentProfile:
    """Return the profile of a document that ``profile_to_document`` wrote.

    Args:
        document: The document, with or without a round trip through JSON. Missing settings have the defaults
            of a new profile, except ``await_final_configuration``, which is off as for any existing profile;
            unknown keys are ignored.

    Raises:
        StoreVersionError: A newer pyade wrote it.
        ProfileError: It is not such a document, or its profile breaks a rule.
    """
    version = document.get("version")
    if type(version) is not int or version < 1:
        problem = Problem(
            "version", str(version), f"a document of version 1 to {VERSION}", "pass a stored profile"
        )
        raise ProfileError((problem,))
    if version > VERSION:
        raise StoreVersionError(
            f"the profile was written as version {version}, this pyade reads {VERSION}: update pyade"
        )
    settings: dict[str, Any] = {
        "await_final_configuration": False,
        **{name: document[name] for name in _PLAIN if name in document},  # rule 1
    }
    for name, read in _READERS.items():
        if name not in document:
            continue
        try:
            settings[name] = read(document[name])
        except (AttributeError, KeyError, TypeError, ValueError):
            problem = Problem(name, "", "the form that profile_to_document writes", "restore the document")
            break
    else:
        try:
            return EnrollmentProfile(**settings)
        except TypeError:
            problem = Problem("document", "", "at least a name and a url", "restore the document")
    # The errors above may quote the document, which may have a password hash, so they are never chained.
    raise ProfileError((problem,))


def _read_affinity(value: Mapping[str, Any]) -> UserAffinity:
    return UserAffinity(kind=AffinityKind(value["kind"]), web_url=value["web_url"])


def _read_administrator(value: Mapping[str, Any]) -> AdministratorAccount:
    return AdministratorAccount(**{**value, "password_hash": _from_base64(value["password_hash"])})


def _optional(read: Callable[[Any], T]) -> Callable[[Any], T | None]:
    return lambda value: None if value is None else read(value)


def _to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _from_base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


_PLAIN = (
    "name",
    "url",
    "description",
    "await_final_configuration",
    "locked",
    "department",
    "support_phone_number",
    "support_email_address",
    "language",
    "region",
    "auto_advance",
    "org_magic",
    "supervised",
    "mandatory",
    "standard_user",
    "skip_primary_account",
    "managed_user",
    "requires_network_tether",
)
_READERS: Mapping[str, Callable[[Any], Any]] = {
    "user_affinity": _read_affinity,
    "primary_account": _optional(lambda value: PrimaryAccount(**value)),
    "administrator": _optional(_read_administrator),
    "skip": frozenset,
    "anchor_certificates": lambda value: tuple(map(_from_base64, value)),
    "extra": dict,
    "apple_spelling": dict,
    "apple_keys": _optional(frozenset),
}


TOKEN_SECRETS = ("consumer_secret", "access_token", "access_secret")

_encode = msgspec.json.Encoder().encode
_encode_secrets = msgspec.json.Encoder(enc_hook=Secret.reveal).encode
_load_attempt = msgspec.json.Decoder(Attempt).decode
_load_group = msgspec.json.Decoder(DeviceGroup).decode
_load_state = msgspec.json.Decoder(SyncState).decode
_load_enrollment = msgspec.json.Decoder(Enrollment).decode
_load_object = msgspec.json.Decoder(dict[str, Any]).decode
_PLACE = re.compile(r" - at `([^`]*)`$")
# A key of ``DeviceGroup`` and its older name in stored documents. A store finds a group by the digest of its
# document, so the document must not change. No text in it contains this: JSON escapes its quotes.
_STORED_GROUP_KEY = ('"has_implausible_date":', '"has_wild_date":')


def record_row(record: DeviceRecord, document: str | None = None) -> tuple[Any, ...]:
    """Return the row of *record* without its ids, in the order of ``storage.tables.DEVICES``.

    Args:
        record: The record.
        document: Apple's own JSON object of exactly this device, if available.
    """
    return (
        record.serial_number,
        record.first_seen_at,
        record.full_sync,
        encode_device(record.device) if document is None else document,
        None if record.updated_at == record.first_seen_at else record.updated_at,
        record.op_date,
        record.op_date_sent,
        record.released_at,
        record.deleted_at,
        None if record.attempt is None else _to_text(record.attempt),
    )


def encode_device(device: Device) -> str:
    """Return Apple's JSON object of *device*, including unknown values and extra keys.

    Raises:
        StoreError: The device has no JSON form, or would not be read back as a device of its group.
    """
    text = _to_text(device.to_apple() if device.extra else device)
    try:
        found = read_device(text)
    except msgspec.MsgspecError as exc:
        problem = str(exc)
    else:
        if found == device or _identity(found) == _identity(device):
            return text
        problem = "a value has the wrong type, or extra has the name of an attribute"
    raise StoreError(f"a device that cannot be stored: {problem}")


def encode_read(device: Device) -> str:
    """Do the same as ``encode_device`` for a device that was read strictly, without checking it again."""
    return _to_text(device)


def decode_record(token_name: str, row: Sequence[Any]) -> DeviceRecord:
    """Return the record from a row of ``record_row``."""
    return _decode("the record of a device", token_name, lambda: _load_record(token_name, row))


def _load_record(token_name: str, row: Sequence[Any]) -> DeviceRecord:
    serial, first_seen_at, full_sync, device, updated_at, *times, attempt = row
    op_date, sent, released_at, deleted_at = (None if time is None else as_time(time) for time in times)
    found = read_device(device)
    if found.serial_number != serial:
        raise ValueError("the document belongs to another device")
    return DeviceRecord(
        token_name=token_name,
        device=found,
        first_seen_at=as_time(first_seen_at),
        updated_at=as_time(first_seen_at if updated_at is None else updated_at),
        op_date=op_date,
        released_at=released_at,
        full_sync=full_sync,
        attempt=None if attempt is None else _load_attempt(attempt),
        deleted_at=deleted_at,
        op_date_sent=sent,
    )


def group_row(group: DeviceGroup) -> tuple[Any, ...]:
    """Return the row of *group*: digest, model, profile_status, profile_uuid, is_released and document."""
    document = _to_text(group).replace(*_STORED_GROUP_KEY)
    digest = hashlib.sha256(document.encode()).hexdigest()
    return digest, group.model, group.profile_status, group.profile_uuid, group.is_released, document


def decode_group(token_name: str, text: str) -> DeviceGroup:
    """Return the group from the document in a row of ``group_row``."""
    now, stored = _STORED_GROUP_KEY
    return _decode("a group of devices", token_name, lambda: _load_group(str(text).replace(stored, now)))


def encode_state(state: SyncState) -> str:
    """Return the document of *state*."""
    return _to_text(state)


def decode_state(text: str | None, token_name: str) -> SyncState:
    """Return the state from a document of ``encode_state``; ``SyncState()`` for None."""
    if text is None:
        return SyncState()
    return _decode("the sync state", token_name, lambda: _load_state(text))


def encode_token(token: Token) -> tuple[str, Secret]:
    """Return two documents: *token* without its secrets, and the secrets."""
    document: dict[str, Any] = {field.name: getattr(token, field.name) for field in attrs.fields(Token)}
    secrets = {name: document.pop(name) for name in TOKEN_SECRETS}  # rule 2
    return _to_text(document), Secret(_to_text(secrets, _encode_secrets))


def decode_token(name: str, text: str, secrets: Secret) -> Token:
    """Return the token from two documents of ``encode_token``."""
    return _decode("the token", name, lambda: _load_token(text, secrets))


def encode_profile(profile: EnrollmentProfile) -> tuple[str, Secret | None]:
    """Return two texts: the document of *profile*, and the hash of its password, None if it has none."""
    document, secret = _split_secret(profile)
    return _to_text(document), secret


def decode_profile(token_name: str, text: str, secret: Secret | None) -> EnrollmentProfile:
    """Return the profile from two texts of ``encode_profile``."""
    return _decode("a profile", token_name, lambda: _load_profile(text, secret))


def defined_profile(token_name: str, profile: EnrollmentProfile, *columns: Any) -> DefinedProfile:
    """Return *profile* with its columns profile_uuid, digest, defined_at and individual as an object."""
    profile_uuid, digest, defined_at, individual = columns
    return DefinedProfile(
        profile_uuid=profile_uuid,
        profile=profile,
        digest=digest,
        defined_at=_decode("a profile", token_name, lambda: as_time(defined_at)),
        individual=bool(individual),
    )


def encode_enrollment(enrollment: Enrollment) -> str:
    """Return the document of *enrollment*."""
    return _to_text(enrollment)


def decode_enrollment(serial_number: str, text: str) -> Enrollment:
    """Return the enrollment from a document of ``encode_enrollment``."""
    return _decode(f"the enrollment of {serial_number!r}", "", lambda: _load_enrollment(text))


def one_time_row(one_time: OneTime) -> tuple[Any, ...]:
    """Return the row of *one_time*: kind, digest, serial_number, expires_at and value."""
    used = {"redeemed_by": one_time.redeemed_by} if one_time.redeemed_by else {}
    value = _to_text({**one_time.value, **used})
    return one_time.kind.value, one_time.digest, one_time.serial_number, one_time.expires_at, value


def decode_one_time(row: Sequence[Any]) -> OneTime:
    """Return the one-time value from a row of ``one_time_row``."""
    kind, digest, serial_number, expires_at, document = row

    def decode() -> OneTime:
        value = _load_object(document)
        return OneTime(
            kind=OneTimeKind(kind),
            digest=digest,
            serial_number=serial_number,
            expires_at=as_time(expires_at),
            redeemed_by=msgspec.convert(value.pop("redeemed_by", ""), str),
            value=value,
        )

    return _decode(f"a one-time value of {serial_number!r}", "", decode)


def decode_batch(row_id: str, token_name: str, at: datetime | str, document: str) -> EventBatch:
    """Return the events from a row; *row_id* names it in errors."""
    return _decode(
        f"event {row_id}", token_name, lambda: EventBatch(token_name, as_time(at), decode_groups(document))
    )


def decode_revision(token_name: str, value: object) -> int:
    """Return the revision of a sync state from its column."""
    return _decode("the sync state", token_name, lambda: msgspec.convert(value, int))


def decode_lease(token_name: str, row: Sequence[Any]) -> Lease:
    """Return the lease from a row of fence, owner and expires_at."""
    fence, owner, ends = row
    expires_at = _decode("the lease", token_name, lambda: as_time(ends))
    return Lease(token_name=token_name, owner=owner, fence=fence, expires_at=expires_at)


def as_time(value: datetime | str) -> datetime:
    """Return the value of a time column in UTC."""
    found = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return found.astimezone(UTC)


def operation_date(token_name: str, value: datetime | str) -> datetime:
    """Return the ``op_date`` from a row of ``record_row``."""
    return _decode("the record of a device", token_name, lambda: as_time(value))


def _identity(device: Device) -> tuple[Any, ...]:
    return device.serial_number, GROUPED_BY(device)


def _load_token(text: str, secrets: Secret) -> Token:
    document = _load_object(text) | _load_object(secrets.reveal())
    return msgspec.convert(document, Token, dec_hook=lambda kind, value: kind(value))


def _split_secret(profile: EnrollmentProfile) -> tuple[dict[str, Any], Secret | None]:
    """Return the document of *profile* without its password hash, and the hash, None if it has none."""
    document = profile_to_document(profile)
    administrator = document["administrator"]
    if administrator is None or not administrator["password_hash"]:
        return document, None
    secret = Secret(administrator["password_hash"])
    administrator["password_hash"] = ""
    return document, secret


def _load_profile(text: str, secret: Secret | None) -> EnrollmentProfile:
    if secret is None:
        profile, *free = _cached_profile(text)
        if [profile.extra, profile.apple_spelling] == free:  # else a caller changed the cached object
            return profile
    document = _load_object(text)
    if secret is not None:
        base64.b64decode(secret.reveal(), validate=True)
        document["administrator"]["password_hash"] = masked(secret.reveal())
    return profile_from_document(document)


@functools.lru_cache(maxsize=16)
def _cached_profile(text: str) -> tuple[EnrollmentProfile, dict[str, Any], dict[str, Any]]:
    """Return the profile of a document without a secret, and copies of its mutable fields.

    Cached, because many Macs get the same profile.
    """
    profile = profile_from_document(_load_object(text))
    return profile, copy.deepcopy(dict(profile.extra)), copy.deepcopy(dict(profile.apple_spelling))


def _to_text(value: Any, encode: Callable[[Any], bytes] = _encode) -> str:
    try:
        return encode(value).decode()
    except (TypeError, ValueError, OverflowError, RecursionError) as exc:
        kind = type(exc).__name__
    raise StoreError(f"a value cannot be written as JSON: {kind}")


def _decode(what: str, token_name: str, decode: Callable[[], T]) -> T:
    try:
        return decode()
    except StoreVersionError:
        raise
    except (msgspec.MsgspecError, PyadeError, ValueError, TypeError, LookupError) as exc:
        place = _PLACE.search(str(exc))
    # Rule 3: the decoder's error may quote the row, so it is never chained to this one.
    of_token = f" of token {token_name!r}" if token_name else ""
    where = f" at {place[1]}" if place else ""
    raise DamagedRecordError(
        f"{what}{of_token} is stored, but cannot be read{where}: restore a backup, or store it again",
        token_name=token_name,
    )
