"""The statements of ``SQLStore``, in what SQLite and PostgreSQL have in common.

``storage.database`` says what stands in braces. A truth value of a column is computed in Python, never in a
RETURNING clause: SQLite 3.40 returns true for ``NULL IS NOT NULL`` there. ``{after}`` is where ``following``
puts the condition of every page but the first.
"""

# ruff: noqa: S105, S608 - statements about secrets are no passwords, and all that is put together is ours

from __future__ import annotations

# Tokens
SELECT_TOKEN = "SELECT id, revision, state FROM {}token WHERE name = ?"
LOCK_TOKEN = f"{SELECT_TOKEN} {{for_update}}"
ADD_TOKEN = """
    INSERT INTO {}token (name, document, secrets) VALUES (?, ?, ?)
    ON CONFLICT (name) DO NOTHING RETURNING id
"""
READ_TOKEN = "SELECT name, document, secrets FROM {}token WHERE name = ?"
READ_TOKENS = "SELECT name, document, secrets FROM {}token ORDER BY name"
REPLACE_TOKEN = "UPDATE {}token SET document = ?, secrets = ? WHERE id = ?"
DELETE_TOKEN = "DELETE FROM {}token WHERE id = ?"
SAVE_STATE = "UPDATE {}token SET revision = ?, state = ? WHERE id = ?"
SELECT_STATES = "SELECT name, state FROM {}token ORDER BY name"
SELECT_DEFAULT = "SELECT default_profile, default_profile_secrets FROM {}token WHERE name = ?"
SET_DEFAULT = "UPDATE {}token SET default_profile = ?, default_profile_secrets = ? WHERE id = ?"

# Leases
SELECT_LEASE = "SELECT fence, owner, expires_at FROM {}lease WHERE token_id = ?"
DELETE_LEASE = "DELETE FROM {}lease WHERE token_id = ?"
INSERT_LEASE = "INSERT INTO {}lease (token_id, owner, expires_at) VALUES (?, ?, ?) RETURNING fence"
RENEW_LEASE = "UPDATE {}lease SET expires_at = ? WHERE fence = ?"
RELEASE_LEASE = "DELETE FROM {}lease WHERE fence = ?"

# Devices
_RECORD = """
    device.serial_number, device.first_seen_at, device.full_sync, device.document, device.updated_at,
    device.op_date, device.op_date_sent, device.released_at, device.deleted_at, device.attempt
"""
SELECT_RECORDS = f"""
    SELECT token.name, {_RECORD} FROM {{}}device AS device
    JOIN {{}}token AS token ON token.id = device.token_id
    WHERE device.serial_number {{one_of}} ORDER BY device.serial_number, token.name
"""
SELECT_SOME = f"""
    SELECT device.id, {_RECORD} FROM {{}}device AS device
    WHERE device.token_id = ? AND device.serial_number {{one_of}}
"""
SELECT_WITHOUT_DOCUMENT = """
    SELECT device.serial_number, device.id, device.group_id, device.first_seen_at, device.full_sync,
        device.updated_at, device.op_date, device.op_date_sent, device.released_at, device.deleted_at,
        device.attempt
    FROM {}device AS device WHERE device.token_id = ? AND device.serial_number {one_of}
"""
SELECT_DEVICES = f"""
    SELECT device.id, {_RECORD} FROM {{}}device AS device
    WHERE device.id BETWEEN ? AND ? AND device.deleted_at IS NULL {{after}} ORDER BY device.id LIMIT ?
"""
PAGES: dict[bool | None, str] = {
    None: SELECT_DEVICES,
    False: SELECT_DEVICES.replace("{after}", "AND device.released_at IS NULL {after}"),
    True: SELECT_DEVICES.replace("{after}", "AND device.released_at IS NOT NULL {after}"),
}
"""By whether released devices are wanted; None for both."""
MARK_LISTED = "UPDATE {}device SET full_sync = ? WHERE id {one_of}"
_IN_GROUPS = "group_id IN (SELECT id FROM {}device_group WHERE token_id = ? AND is_released = ?)"
# An event that is newer than the start of the list knows better than the list.
_UNLISTED = f"""
    FROM {{}}device AS device WHERE {_IN_GROUPS}
    AND device.full_sync < ? AND (device.op_date IS NULL OR device.op_date <= ?)
"""
COUNT_UNLISTED = f"SELECT count(*) {_UNLISTED} AND device.deleted_at IS NULL"
SELECT_UNLISTED = f"SELECT device.id, {_RECORD} {_UNLISTED} {{after}} ORDER BY device.id LIMIT ?"
LAST_ID = "SELECT max(id) FROM {}device WHERE id BETWEEN ? AND ?"
DELETE_DEVICES = "DELETE FROM {}device WHERE id BETWEEN ? AND ?"
DELETE_DEVICE = "DELETE FROM {}device WHERE token_id = ? AND serial_number = ?"
PURGE = f"DELETE FROM {{}}device WHERE {_IN_GROUPS} AND released_at <= ? RETURNING serial_number, deleted_at"
SAVE_GROUP = """
    INSERT INTO {}device_group (token_id, digest, model, profile_status, profile_uuid, is_released, document)
    VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (token_id, digest) DO UPDATE SET
        model = excluded.model, profile_status = excluded.profile_status,
        profile_uuid = excluded.profile_uuid, is_released = excluded.is_released,
        document = excluded.document
"""
SELECT_GROUPS = """
    SELECT digest, id, model, profile_status, profile_uuid, is_released, document
    FROM {}device_group WHERE token_id = ? AND digest {one_of}
"""
COUNT_GROUPS = """
    SELECT alike.document, (SELECT count(*) FROM {}device AS device WHERE device.group_id = alike.id)
    FROM {}device_group AS alike WHERE alike.token_id = ? ORDER BY alike.id
"""
SELECT_SERIALS_IN = """
    SELECT id, serial_number FROM {}device WHERE group_id {one_of} {after} ORDER BY id LIMIT ?
"""
SELECT_IDS_IN = "SELECT id FROM {}device WHERE group_id {one_of} {after} ORDER BY id LIMIT ?"
SELECT_BY_ID = f"""
    SELECT device.group_id, {_RECORD} FROM {{}}device AS device
    WHERE device.id {{one_of}} ORDER BY device.id
"""
HAS_OTHER_TOKEN = "SELECT 1 FROM {}token WHERE id <> ? LIMIT 1"
_SHARED = """
    SELECT device.serial_number FROM {}device AS device
    WHERE device.released_at IS NULL AND device.deleted_at IS NULL AND EXISTS (
        SELECT 1 FROM {}device AS other WHERE other.serial_number = device.serial_number
        AND other.token_id <> device.token_id AND other.released_at IS NULL
    )
"""
SELECT_SHARED = f"{_SHARED} AND device.id BETWEEN ? AND ?"
SELECT_SHARED_SOME = f"{_SHARED} AND device.token_id = ? AND device.serial_number {{one_of}}"

# Profiles
SAVE_PROFILE = """
    INSERT INTO {}profile (
        token_id, profile_uuid, name, digest, defined_at, individual, document, secrets
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (token_id, profile_uuid) DO UPDATE SET
        name = excluded.name, digest = excluded.digest, defined_at = excluded.defined_at,
        individual = excluded.individual, document = excluded.document, secrets = excluded.secrets
"""
SELECT_PROFILES = """
    SELECT profile_uuid, digest, defined_at, individual, document, secrets FROM {}profile
    WHERE token_id = ? ORDER BY defined_at, profile_uuid
"""
SELECT_PROFILE = """
    SELECT profile_uuid, digest, defined_at, individual, profile.document, profile.secrets
    FROM {}token AS token LEFT JOIN {}profile AS profile
    ON profile.token_id = token.id AND profile_uuid = ? WHERE token.name = ?
"""

# Events
ADD_EVENT = "INSERT INTO {}event (at, token_name, document) VALUES (?, ?, ?)"
SELECT_EVENTS = """
    SELECT transaction_number, id, token_name, at, document FROM {}event
    WHERE (transaction_number, id) >= (?, ?) AND {settled}
    ORDER BY transaction_number, id LIMIT ?
"""
SELECT_POSITION = "SELECT position FROM {}subscriber WHERE name = ?"
SELECT_POSITIONS = "SELECT position FROM {}subscriber"
SAVE_POSITION = """
    INSERT INTO {}subscriber (name, position) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET position = excluded.position
"""
DELETE_POSITION = "DELETE FROM {}subscriber WHERE name = ?"
PRUNE_EVENTS = "DELETE FROM {}event WHERE at < ?"
PRUNE_SEEN_EVENTS = f"{PRUNE_EVENTS} AND (transaction_number, id) < (?, ?)"

# Secrets
SELECT_SECRET = "SELECT value FROM {}secret WHERE kind = ? AND name = ?"
SAVE_SECRET = """
    INSERT INTO {}secret (kind, name, value) VALUES (?, ?, ?)
    ON CONFLICT (kind, name) DO UPDATE SET value = excluded.value
"""
SELECT_SECRET_NAMES = "SELECT name FROM {}secret WHERE kind = ? AND substr(name, 1, ?) = ? ORDER BY name"
DELETE_SECRET = "DELETE FROM {}secret WHERE kind = ? AND name = ?"

# Enrollments
SELECT_ENROLLMENT = "SELECT document FROM {}enrollment WHERE serial_number = ?"
SELECT_ENROLLMENT_REVISION = "SELECT revision FROM {}enrollment WHERE serial_number = ?"
SELECT_ENROLLMENTS = """
    SELECT serial_number, document FROM {}enrollment WHERE TRUE {after} ORDER BY serial_number LIMIT ?
"""
SELECT_REGISTERED = SELECT_ENROLLMENTS.replace("TRUE", "registration = ?")
ADD_ENROLLMENT = """
    INSERT INTO {}enrollment (revision, registration, document, serial_number) VALUES (?, ?, ?, ?)
    ON CONFLICT (serial_number) DO NOTHING RETURNING revision
"""
UPDATE_ENROLLMENT = """
    UPDATE {}enrollment SET revision = ?, registration = ?, document = ?
    WHERE serial_number = ? AND revision = ? RETURNING revision
"""
DELETE_ENROLLMENT = "DELETE FROM {}enrollment WHERE serial_number = ?"

# What may be used once
_ONE_TIME = "kind, digest, serial_number, expires_at, value"
KEEP_ONE_TIME = f"INSERT INTO {{}}one_time ({_ONE_TIME}) VALUES (?, ?, ?, ?, ?)"
DELETE_EXPIRED = "DELETE FROM {}one_time WHERE expires_at <= ?"
MAKE_ROOM = """
    DELETE FROM {}one_time WHERE (kind, digest) IN (
        SELECT kind, digest FROM {}one_time WHERE serial_number = ? AND kind = ?
        ORDER BY expires_at DESC, digest DESC LIMIT 1000000 OFFSET ?
    )
"""
SELECT_ONE_TIME = f"SELECT {_ONE_TIME} FROM {{}}one_time WHERE kind = ? AND digest = ? {{for_update}}"
SAVE_ONE_TIME = "UPDATE {}one_time SET expires_at = ?, value = ? WHERE kind = ? AND digest = ?"
TAKE_ONE_TIME = f"DELETE FROM {{}}one_time WHERE kind = ? AND digest = ? RETURNING {_ONE_TIME}"
SELECT_ONE_TIMES = f"SELECT {_ONE_TIME} FROM {{}}one_time WHERE serial_number = ? ORDER BY expires_at, digest"
REVOKE_ALL = "DELETE FROM {}one_time WHERE serial_number = ?"
REVOKE_CREDENTIALS = "DELETE FROM {}one_time WHERE serial_number = ? AND kind <> ?"


def following(select: str, by: str, *, is_first: bool) -> str:
    """Return a statement that selects the next page by the column *by*, or the first one."""
    return select.replace("{after}", "" if is_first else f"AND {by} > ?")
