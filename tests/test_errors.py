"""What a person reads when pyade raises."""

import pytest

from pyade import EnrollmentProfile
from pyade.errors import AppleError, ProfileError


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
