"""Generated fleets in the form of Apple's pages; the bytes are the same in every run and every process."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import attrs

from pyade import Token

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
"""When the first list begins."""

PAGE = 1_000
SERVER_UUID = "677CAB70FE1A4F4D8B5D0B9F6B4A3B11"
PROFILE_UUID = "88FC4E378FEE4D1ABF7D5AE4A1A2B3C4"
_ORGANIZATION = "Contoso"
_MODELS = tuple(
    f'"model":"{model}","description":"{description}","color":"{color}","device_family":"Mac","os":"OSX"'
    for model, description, color in (
        ("MacBook Pro", "MBP 14 SPACE BLACK/M4/16GB/512GB-USA", "SPACE BLACK"),
        ("MacBook Air", "MBA 13.6 MIDNIGHT/M3/16GB/256GB-USA", "MIDNIGHT"),
        ("Mac mini", "MAC MINI SILVER/M4/16GB/256GB-USA", "SILVER"),
        ("iMac", "IMAC 24 BLUE/M4/16GB/256GB-USA", "BLUE"),
    )
)
_EMPTY = '"profile_status":"empty"'
_ASSIGNED = (
    f'"profile_status":"assigned","profile_uuid":"{PROFILE_UUID}",'
    '"profile_assign_time":"2025-06-02T09:00:00Z"'
)


@attrs.frozen
class Fleet:
    """The Macs of one MDM server.

    Attributes:
        size: Number of Macs.
        assigned: True if each of them has a profile at Apple.
    """

    size: int
    assigned: bool = False

    @property
    def name(self) -> str:
        """The name of the fleet, for ``named``; the first part of its path on the server."""
        return f"{'assigned' if self.assigned else 'empty'}-{self.size}"

    @classmethod
    def named(cls, name: str) -> Fleet:
        """Return the fleet of that name."""
        kind, size = name.split("-")
        return cls(int(size), kind == "assigned")

    @property
    def pages(self) -> int:
        """The number of pages of its full list."""
        return max(1, -(-self.size // PAGE))

    def page(self, number: int) -> bytes:
        """Return one page of the full list; the cursor of the last one is for the changes."""
        first, is_last = number * PAGE, number + 1 == self.pages
        records = (record(serial(one), self.assigned) for one in range(first, min(first + PAGE, self.size)))
        return _page(records, cursor="s0" if is_last else f"f{number + 1}", more=not is_last)

    def listed(self) -> Iterator[bytes]:
        """Iterate over the pages of the full list."""
        return map(self.page, range(self.pages))

    def changes(self, number: int, count: int = PAGE) -> bytes:
        """Return a page of *count* changes in hour *number*, spread evenly over the fleet."""
        at = _text(changed_at(number))
        extra = f'"asset_tag":"IT {number}","op_type":"modified","op_date":"{at}"'
        chosen = (serial(one * self.size // count) for one in range(count))
        records = (record(one, self.assigned, extra) for one in chosen)
        return _page(records, cursor=f"s{number + 1}", more=False)


def changed_at(number: int) -> datetime:
    """Return when the changes of hour *number* were made; a sync an hour later finds them."""
    return START + timedelta(hours=number + 1)


def serial(number: int) -> str:
    """Return a unique serial number; those of neighbours differ much, as in Apple's lists."""
    return f"C02{number * 0x9E3779B1 % 2**32:08X}W"


def record(serial_number: str, assigned: bool, extra: str = "") -> str:
    """Return the JSON of one device: 11 keys, and 13 with a profile."""
    number = int(serial_number[3:11], 16)
    address = number.to_bytes(4).hex(":")
    fields = (
        f'"serial_number":"{serial_number}"',
        _MODELS[number >> 8 & 3],
        _ASSIGNED if assigned else _EMPTY,
        '"device_assigned_date":"2025-06-01T08:30:00Z","device_assigned_by":"it@contoso.com"',
        f'"bluetooth_mac_address":"a4:83:{address}","wifi_mac_address":"a4:84:{address}"',
    )
    return f"{{{','.join((*fields, extra) if extra else fields)}}}"


def token() -> Token:
    """Return a token whose server is known, as after its first sync."""
    return Token(
        name="hq",
        consumer_key="CK_benchmark",
        consumer_secret="CS_benchmark",
        access_token="AT_benchmark",
        access_secret="AS_benchmark",
        access_token_expiry=START + timedelta(days=365),
        apple_id="it@contoso.com",
        consented_at=START,
        server_uuid=SERVER_UUID,
        org_name=_ORGANIZATION,
    )


def account() -> bytes:
    """Return Apple's account response."""
    return (
        f'{{"server_name":"Contoso MDM","server_uuid":"{SERVER_UUID}","admin_id":"it@contoso.com",'
        f'"facilitator_id":"it@contoso.com","org_name":"{_ORGANIZATION}"}}'
    ).encode()


def _page(records: Iterator[str], *, cursor: str, more: bool) -> bytes:
    return (
        f'{{"devices":[{",".join(records)}],"fetched_until":"{_text(START)}","cursor":"{cursor}",'
        f'"more_to_follow":{"true" if more else "false"}}}'
    ).encode()


def _text(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
