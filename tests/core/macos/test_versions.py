"""macOS versions: text, builds and their order."""

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade.core.macos.versions import MacOSVersion
from pyade.errors import VersionError

VERSIONS = st.builds(
    MacOSVersion,
    st.integers(11, 40),
    st.integers(0, 30),
    st.integers(0, 30),
    st.sampled_from(["", *"abcz"]),
)

# Public builds and the release that each belongs to.
BUILDS = {
    "13A603": "10.9", "14F27": "10.10.5", "15G31": "10.11.6", "16G29": "10.12.6", "17A365": "10.13",
    "17G65": "10.13.6", "18A391": "10.14", "18G84": "10.14.6", "19A583": "10.15", "19H2": "10.15.7",
    "20A2411": "11.0", "20B29": "11.0.1", "20B50": "11.0.1", "20C69": "11.1", "20G71": "11.5",
    "20G165": "11.6", "20G817": "11.7", "21A559": "12.0", "21C52": "12.1", "21G72": "12.5",
    "21G115": "12.6", "21G816": "12.7", "21H1320": "12.7", "22A380": "13.0", "22A400": "13.0.1",
    "22C65": "13.1", "22D49": "13.2", "22E252": "13.3", "22F66": "13.4", "22G74": "13.5",
    "22G120": "13.6", "22H123": "13.7", "23A344": "14.0", "23B74": "14.1", "23H124": "14.7",
    "23J21": "14.8", "24A335": "15.0", "24G84": "15.6", "24G222": "15.7", "25A354": "26.0",
    "25B78": "26.1", "26A1": "27.0",
}  # fmt: skip


@each(
    ("text", "version", "shown"),
    [
        ("14", MacOSVersion(14), "14.0"),
        ("14.1", MacOSVersion(14, 1), "14.1"),
        ("10.9", MacOSVersion(10, 9), "10.9"),
        ("10.13.6", MacOSVersion(10, 13, 6), "10.13.6"),
        ("14.1.0", MacOSVersion(14, 1), "14.1"),
        ("13.4.1 (a)", MacOSVersion(13, 4, 1, "a"), "13.4.1 (a)"),
        ("13.4.1(c)", MacOSVersion(13, 4, 1, "c"), "13.4.1 (c)"),
        (" 27.0\n", MacOSVersion(27), "27.0"),
    ],
)
def test_a_version_is_read_from_its_text(text: str, version: MacOSVersion, shown: str) -> None:
    assert MacOSVersion.parse(text) == version
    assert str(version) == shown


@each(
    "text",
    [
        "",
        "macOS 14",
        "14.",
        "14.1.2.3",
        "14.1b",
        "14.1 (ab)",
        "14.1 (A)",
        "-14",
        "9.3.2",
        "10.8.5",
        "١٤",
        "14,1",
        "1" * 99,
    ],
)
def test_what_is_no_version_is_refused_with_what_can_be_read(text: str) -> None:
    with pytest.raises(VersionError) as caught:
        MacOSVersion.parse(text)
    assert len(caught.value.value) <= 80
    assert "14.1" in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@each("value", [None, 14, 14.1, b"14.1"])
def test_what_is_no_text_is_refused_with_a_typed_error(value: object) -> None:
    with pytest.raises(VersionError, match=f"{type(value).__name__}, not text"):
        MacOSVersion.of(value)  # type: ignore[arg-type]
    with pytest.raises(VersionError):
        MacOSVersion.from_build(value)  # type: ignore[arg-type]


@each("parts", [(10, 8), (14, -1), (14, True), (14, 1, 0, "ab"), (14, 1, 0, "A")])
def test_parts_that_no_version_has_are_refused(parts: tuple[int, int]) -> None:
    with pytest.raises(VersionError):
        MacOSVersion(*parts)


@each("major", ["14.1", "14", 14.1, True, None])
def test_a_text_given_as_a_part_is_refused_with_the_way_to_read_it(major: Any) -> None:
    with pytest.raises(VersionError, match=r"parse\(\) reads a text"):
        MacOSVersion(major)


def test_versions_order_by_number_and_not_by_text() -> None:
    texts = [
        "10.9",
        "10.10",
        "10.15.7",
        "11",
        "12.6.1",
        "13.4",
        "13.4.1",
        "13.4.1 (a)",
        "13.4.1 (c)",
        "13.4.2",
        "26",
        "27",
    ]
    assert [str(version) for version in sorted(map(MacOSVersion.parse, reversed(texts)))] == [
        str(MacOSVersion.parse(text)) for text in texts
    ]


@given(VERSIONS, VERSIONS, VERSIONS)
def test_the_order_is_total(a: MacOSVersion, b: MacOSVersion, c: MacOSVersion) -> None:
    assert (a < b) + (a == b) + (a > b) == 1
    assert not (a <= b <= c) or a <= c
    assert (a == b) == (hash(a) == hash(b) and str(a) == str(b))


@given(VERSIONS)
def test_text_and_pickle_keep_a_version(version: MacOSVersion) -> None:
    assert MacOSVersion.parse(str(version)) == version
    assert MacOSVersion.of(version) is version
    assert MacOSVersion.of(str(version)) == version
    assert pickle.loads(pickle.dumps(version)) == version


@given(VERSIONS.filter(lambda version: version.supplement != ""))
def test_a_supplemental_update_is_above_its_release_and_below_the_next(version: MacOSVersion) -> None:
    assert MacOSVersion(version.major, version.minor, version.patch) < version
    assert version < MacOSVersion(version.major, version.minor, version.patch + 1)


@each(("build", "version"), BUILDS.items())
def test_a_build_tells_its_version(build: str, version: str) -> None:
    assert str(MacOSVersion.from_build(build)) == str(MacOSVersion.parse(version))


@each(
    ("build", "version"),
    [
        ("22E5219e", "13.3"),
        ("22G5027e", "13.5"),
        ("23A5257q", "14.0"),
        ("24G5054d", "15.6"),
        ("22F770820b", "13.4"),
    ],
)
def test_the_high_number_of_a_beta_or_security_response_says_nothing(build: str, version: str) -> None:
    assert MacOSVersion.from_build(build) == MacOSVersion.parse(version)


@each(
    "build",
    [
        "",
        "22",
        "22C",
        "22c65",
        "12F45",
        "27A1",
        "18H1",
        "20H1",
        "21B1",
        "22B1",
        "23I1",
        "22C65xx",
        "X22C65",
        "22C1234567",
    ],
)
def test_a_build_of_no_known_train_or_letter_is_refused(build: str) -> None:
    with pytest.raises(VersionError):
        MacOSVersion.from_build(build)


def test_the_first_version_with_acme_needs_no_table_of_builds() -> None:
    gate = MacOSVersion.parse("13.1")
    assert MacOSVersion.from_build("22A400") < gate <= MacOSVersion.from_build("22C65")
