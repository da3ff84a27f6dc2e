"""The log of an activity, in every form that was seen and in some that were not."""

from __future__ import annotations

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from pyade.business.activities import read_log
from pyade.core.fleet.outcomes import DeviceOutcome, OperationStatus

SUCCESS = OperationStatus.SUCCESS

SEEN = """\
OPERATION,ASSIGN_DEVICES
ACTIVITY_ID,b1481656
STARTED AT,2026-09-01T12:00:00Z
STATUS,COMPLETED
SUB_STATUS,COMPLETED_WITH_ERROR

serial_number, source_server_name, target_server_name, operation_status, operation_substatus, timestamp
C1,,"Contoso, HQ",SUCCESS,,2026-09-01
C2 , old,hq, ISSUE , INVALID_INPUT ,2026-09-01
C3,old,hq,NEW_WORD
C4

,,,SUCCESS,
"""


def test_the_preamble_is_skipped_and_blanks_do_not_count() -> None:
    assert read_log(SEEN.encode(), "a") == {
        "C1": DeviceOutcome(SUCCESS, "", "a"),
        "C2": DeviceOutcome(OperationStatus.ISSUE, "INVALID_INPUT", "a"),
        "C3": DeviceOutcome(OperationStatus("NEW_WORD"), "", "a"),
        "C4": DeviceOutcome(OperationStatus.MISSING, "", "a"),
    }


def test_a_byte_order_mark_crlf_and_other_columns_are_read() -> None:
    text = "\ufeffOPERATION_STATUS,extra,Serial_Number\r\nSUCCESS,x,C1\r\n"
    assert read_log(text.encode()) == {"C1": DeviceOutcome(SUCCESS)}


def test_of_several_rows_the_worst_counts_in_any_order() -> None:
    head = "serial_number,operation_status,operation_substatus\n"
    rows = ["C1,SUCCESS,\n", "C1,ISSUE,X\n", "C1,SUCCESS,\n"]
    assert read_log((head + "".join(rows)).encode()) == {
        "C1": DeviceOutcome(OperationStatus.ISSUE, "X", None)
    }
    assert read_log((head + "".join(rows[1:])).encode()) == {
        "C1": DeviceOutcome(OperationStatus.ISSUE, "X", None)
    }


def test_a_log_without_devices_is_one_and_anything_else_is_none() -> None:
    assert read_log(b"serial_number,operation_status\n") == {}
    for content in (b"", b"<html>", b"OPERATION,ASSIGN\n\nserial,status\nC1,SUCCESS", b"\xff\xfe\0"):
        assert read_log(content) is None


def test_a_cell_that_is_too_long_is_no_log() -> None:
    assert read_log(b"serial_number,operation_status\n" + b"x" * 200_000) is None


@given(st.binary(max_size=400))
def test_no_content_breaks_the_reader(content: bytes) -> None:
    read_log(b"serial_number,operation_status\n" + content)


cells = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1, max_size=12
)


@given(st.dictionaries(cells, st.tuples(st.sampled_from(["SUCCESS", "ISSUE"]), cells), max_size=8))
def test_what_was_written_is_read(rows: dict[str, tuple[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["operation_substatus", " serial_number", "operation_status"])
    for serial, (status, sub_status) in rows.items():
        writer.writerow([sub_status, serial, status])
    assert read_log(text.getvalue().encode()) == {
        serial: DeviceOutcome(OperationStatus(status), sub_status)
        for serial, (status, sub_status) in rows.items()
    }


def test_a_log_of_too_many_devices_is_not_believed() -> None:
    head = b"serial_number,operation_status\n"
    rows = b"".join(b"C%d,SUCCESS\n" % number for number in range(10_001))
    assert read_log(head + rows) is None
    assert len(read_log(head + rows.removesuffix(b"C10000,SUCCESS\n")) or ()) == 10_000


def test_a_row_that_cannot_be_read_makes_the_log_none() -> None:
    """A device of that row must not look as if the log did not mention it."""
    head = b"serial_number,operation_status\nA,SUCCESS\n"
    assert read_log(head + b"B," + b"x" * 200_000 + b"\n") is None
