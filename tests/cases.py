"""Run many cases of a short check as one test, instead of as hundreds of parametrized tests."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import pytest

Test: TypeAlias = Callable[..., None]

UNFRIENDLY: Sequence[dict[str, str]] = (
    {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9"),
)
"""Environments in which programs must run all the same: a locale without Unicode, and a dead proxy."""


def each(names: str | Sequence[str], cases: Iterable[Any]) -> Callable[[Test], Test]:
    """Run a test with each case, as ``pytest.mark.parametrize`` does, but as one test.

    Every case is tried, and the failure names each that failed. Fixtures are created once for all cases, so
    a test that changes its fixtures needs ``parametrize``.

    Args:
        names: The arguments of the test that a case has values for: one name, or several.
        cases: For one name a value, for several a sequence with one value for each.
    """
    keys = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    all_cases = [_arguments_of(keys, case) for case in cases]
    assert all_cases, f"no case for {keys}"

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def run(*arguments: Any, **fixtures: Any) -> None:
            failed: list[tuple[dict[str, Any], BaseException]] = []
            for case in all_cases:
                try:
                    test(*arguments, **fixtures, **case)
                except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001
                    failed.append((case, error))
            if failed:
                raise AssertionError(_describe_failures(failed, len(all_cases))) from failed[0][1]

        signature = inspect.signature(test)
        left = [parameter for name, parameter in signature.parameters.items() if name not in keys]
        assert len(left) + len(keys) == len(signature.parameters), f"{test.__name__} does not take {keys}"
        vars(run)["__signature__"] = signature.replace(parameters=left)
        return run

    return decorate


def _arguments_of(keys: list[str], case: Any) -> dict[str, Any]:
    return dict(zip(keys, (case,) if len(keys) == 1 else case, strict=True))


def _describe_failures(failed: list[tuple[dict[str, Any], BaseException]], total: int) -> str:
    lines = [f"{len(failed)} of {total} cases failed"]
    for case, error in failed:
        named = ", ".join(f"{name}={value!r}" for name, value in case.items())
        lines.append(f"\n[{named}]\n{type(error).__name__}: {error}")
    return "\n".join(lines)
