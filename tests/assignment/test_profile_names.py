"""Two different profiles with one name are reported, and nothing else."""

from __future__ import annotations

import pytest

from pyade.assignment.same_names import NamedUse, same_names


@pytest.mark.parametrize(
    ("uses", "names"),
    [
        ([], []),
        ([("Std", "1", "the default")], []),
        ([("Std", "1", "the default"), ("Std", "1", "rule 'x'")], []),
        ([("Std", "1", "the default"), ("Lab", "2", "rule 'x'")], []),
        ([("Std", "1", "the default"), ("Std", "2", "rule 'x'")], ["Std"]),
        ([("Std", "1", "the default"), ("STD", "2", "picked by hand")], ["Std"]),
        ([("b", "1", ""), ("a", "1", ""), ("B", "2", ""), ("A", "2", "")], ["a", "b"]),
    ],
)
def test_different_profiles_with_one_name_are_reported(
    uses: list[tuple[str, str, str]], names: list[str]
) -> None:
    assert [problem.value for problem in same_names(NamedUse(*use) for use in uses)] == names


def test_problem_names_the_users_of_the_profiles() -> None:
    (problem,) = same_names(
        [NamedUse("Std", "1", "the token's default"), NamedUse("Std", "2", "rule 'Lobby'")]
    )
    assert str(problem) == (
        "name 'Std': different profiles have this name (the token's default and rule 'Lobby'): group rules "
        "cannot tell their Macs apart, and neither can Apple if only sign-in or account settings differ "
        "(give one of them another name)"
    )
