"""To which of several tokens a device belongs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyade.core.fleet.device import Device
from pyade.core.fleet.records import DeviceRecord, owner_of

NOW = datetime(2025, 6, 1, tzinfo=UTC)


def record(
    token_name: str,
    *,
    assigned: int | None = None,
    operation: int | None = None,
    released: bool = False,
    deleted: bool = False,
) -> DeviceRecord:
    return DeviceRecord(
        token_name=token_name,
        device=Device(serial_number="A", device_assigned_date=_day(assigned)),
        first_seen_at=NOW,
        updated_at=NOW,
        op_date=_day(operation),
        released_at=NOW if released else None,
        deleted_at=NOW if deleted else None,
    )


def _day(number: int | None) -> datetime | None:
    return None if number is None else NOW + timedelta(days=number)


@pytest.mark.parametrize(
    ("owner", "other"),
    [
        (record("a", assigned=2, operation=3), record("b", assigned=1, operation=9)),
        (record("a", assigned=2), record("b", operation=9)),
        (record("a", assigned=2, operation=3), record("b", assigned=2)),
        (record("a", operation=1), record("b")),
        (record("a", assigned=2, deleted=True), record("b", assigned=1)),
        (record("a"), record("b", assigned=9, released=True)),
    ],
    ids=[
        "newest assignment",
        "dated at all",
        "then newest operation",
        "any operation",
        "deleted here",
        "released",
    ],
)
def test_newest_assignment_owns(owner: DeviceRecord, other: DeviceRecord) -> None:
    assert owner_of([owner, other]) == owner
    assert owner_of([other, owner]) == owner


def test_a_device_that_all_tokens_released_has_no_owner() -> None:
    assert owner_of([]) is None
    assert owner_of(iter([record("a", released=True)])) is None


days = st.one_of(st.none(), st.integers(0, 2))
claims = st.lists(
    st.builds(
        record,
        st.sampled_from(["hq", "lab", "zoo"]),
        assigned=days,
        operation=days,
        released=st.booleans(),
        deleted=st.booleans(),
    ),
    unique_by=lambda record: record.token_name,
)


@given(records=claims, data=st.data())
def test_order_and_what_others_released_do_not_matter(
    records: list[DeviceRecord], data: st.DataObject
) -> None:
    owner = owner_of(records)
    assert owner_of(data.draw(st.permutations(records))) == owner
    assert owner_of([record for record in records if not record.is_released]) == owner
    if owner is not None:
        rest = [record for record in records if record != owner]
        runner_up = owner_of(rest)
        assert owner_of([attrs.evolve(owner, released_at=NOW), *rest]) == runner_up
