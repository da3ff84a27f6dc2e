"""The texts of errors, and their copies in other processes."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import attrs
import pytest

from pyade import EnrollmentProfile, errors
from pyade.core.fleet.device import DeviceResult
from pyade.core.fleet.outcomes import ActivityOutcome, ActivityRequest, ActivityType, DeviceResults
from pyade.core.problems import ErrorObject, Problem
from pyade.errors import AppleError, ProfileError, PyadeError
from pyade.testing.errors import MacError, PortalError


def test_one_broken_rule_is_one_line_and_several_are_a_list() -> None:
    with pytest.raises(ProfileError) as caught:
        EnrollmentProfile(name="", url="https://mdm.contoso.com/enroll")
    assert str(caught.value) == str(caught.value.problems[0])
    with pytest.raises(ProfileError) as caught:
        EnrollmentProfile(name="", url="https://mdm.contoso.com/enroll", region="usa")
    head, *rules = str(caught.value).splitlines()
    assert head == "2 rules are broken"
    assert [rule.strip() for rule in rules] == [str(problem) for problem in caught.value.problems]


def test_a_refusal_says_whether_apple_was_asked() -> None:
    refused = AppleError("read a profile", 404, "PROFILE_NOT_FOUND", next_step="check the id")
    assert str(refused) == "read a profile: 404 PROFILE_NOT_FOUND; check the id"
    unsent = AppleError("open a session", 0, detail="the token expired", next_step="renew it")
    assert str(unsent) == "open a session: not sent: the token expired; renew it"


EXAMPLES: dict[str, object] = {
    "str": "word",
    "int": 404,
    "bool": True,
    "float | None": 2.5,
    "datetime": datetime(2026, 3, 1, tzinfo=UTC),
    "timedelta": timedelta(minutes=1),
    "datetime | None": datetime(2026, 3, 1, tzinfo=UTC),
    "tuple[problem_types.Problem, ...]": (Problem("name", "", "text", "give one"),),
    "tuple[problem_types.ErrorObject, ...]": (ErrorObject(status="409", code="ENTITY_ERROR"),),
    "outcomes.ActivityOutcome": ActivityOutcome(
        request=ActivityRequest(activity_type=ActivityType.ASSIGN_DEVICES), devices={}
    ),
    "outcomes.DeviceResults": DeviceResults(results={"C02A": DeviceResult.SUCCESS}),
}
"""A value for each type of field that an error has."""

CLASSES = [
    *(found for found in vars(errors).values() if inspect.isclass(found) and issubclass(found, PyadeError)),
    MacError,
    PortalError,
]


def example_of(kind: type[PyadeError]) -> PyadeError:
    """Return an error with a distinct value in each field."""
    fields = attrs.fields_dict(kind) if attrs.has(kind) else {}
    return kind(*(EXAMPLES[str(field.type)] for field in fields.values()))


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_is_equal_to_itself_alone(kind: type[PyadeError]) -> None:
    """Two errors with the same text are different: a set, or a group of exceptions, keeps both."""
    one, other = example_of(kind), example_of(kind)
    assert str(one) == str(other)
    assert one == one
    assert one != other
    assert len({one, other, one}) == 2


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy])
def test_another_process_gets_the_error_whole(
    kind: type[PyadeError], again: Callable[[PyadeError], PyadeError]
) -> None:
    """With its fields and its notes."""
    error = example_of(kind)
    error.add_note("hq: 2 pages committed before the error")
    twin = again(error)
    assert type(twin) is kind
    assert str(twin) == str(error)
    assert twin.__notes__ == ["hq: 2 pages committed before the error"]
    for name in attrs.fields_dict(kind) if attrs.has(kind) else ():
        assert getattr(twin, name) == getattr(error, name)


def test_an_error_says_no_more_than_is_known() -> None:
    """An omitted field adds no text."""
    refused = AppleError("read a profile", 404)
    assert str(refused) == "read a profile: 404"
    assert (refused.code, refused.next_step, refused.retry_after_s, refused.errors) == ("", "", None, ())
    assert refused.request_id == ""
    assert str(errors.TokenError("it is damaged")) == "it is damaged"
    assert errors.PolicyError("never").allowed_at is None
    assert str(errors.PolicyError("never")) == "never"
    assert not errors.TrustError("signed by a stranger").is_malformed
    assert errors.TransportError("assign a profile", "it timed out").effect_unknown
    assert errors.DamagedRecordError("the row cannot be read").token_name == ""
