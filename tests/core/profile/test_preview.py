"""What a person meets in Setup Assistant, in order, as a table and as a picture; it agrees with the plan."""

from __future__ import annotations

import itertools
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each
from tests.core.profile.test_plan import AFFINITIES, HASH, NAMES, OPEN, make
from tests.pictures import HOSTILE, check_text, place, read_svg, texts

from pyade.core.macos.setup_screens import SkipKeys
from pyade.core.macos.versions import MacOSVersion
from pyade.core.profile.accounts import AdministratorAccount, PrimaryAccount
from pyade.core.profile.plan import Effect
from pyade.core.profile.preview import PreviewRow
from pyade.errors import VersionError

ADMIN = AdministratorAccount("localadmin", password_hash=HASH)
COLUMNS = ["10.15", "11.1", "12.0", "13.0", "14.1", "15.4", "26.1", "27.0"]
GATES = sorted(
    {version for key in SkipKeys for version in (key.introduced, key.removed) if version is not None}
    | {MacOSVersion(10, 11), MacOSVersion(27, 3)}
)
LETTERS = {
    Effect.SHOWN: "S",
    Effect.HIDDEN: "H",
    Effect.MAY_SHOW: "M",
    Effect.PASSED: "P",
    Effect.SENT_AS_IS: "?",
    Effect.NOT_THERE: "-",
}
WORDS = {"S": "shown", "H": "hidden", "M": "may", "P": "passed", "?": "?", "-": "-"}


@st.composite
def profiles(draw: st.DrawFn) -> Any:
    affinity = draw(st.sampled_from(list(AFFINITIES)))
    skip = draw(st.frozensets(st.sampled_from([*SkipKeys, "Zoom", "Later"])))
    account = None if affinity == "none" else draw(st.sampled_from([None, OPEN, NAMES, PrimaryAccount("a")]))
    auto_advance = draw(st.booleans())
    admin = None if auto_advance and account is not None else draw(st.sampled_from([None, ADMIN]))
    return make(
        affinity,
        skip=skip,
        primary_account=account,
        administrator=admin,
        auto_advance=auto_advance,
        language=draw(st.sampled_from(["", "de"])),
        region=draw(st.sampled_from(["", "DE"])),
        await_final_configuration=draw(st.booleans()),
    )


@given(profiles(), st.sampled_from(GATES))
def test_every_row_agrees_with_the_plan_of_that_version(profile: Any, version: MacOSVersion) -> None:
    plan, preview = profile.plan(version), profile.preview(version)
    assert preview.versions == (version,)
    of_plan = {row.setting: row.effect for row in plan.screens}
    of_preview = {row.setting: row.effects[0] for row in preview.rows}
    assert len(of_preview) == len(preview.rows)
    steps = {"mandatory", "user_affinity", "primary_account", "await_final_configuration"}
    assert of_preview.keys() - of_plan.keys() == steps
    assert {name: of_preview[name] for name in of_plan} == of_plan
    signs_in = "no sign-in" not in plan.row("user_affinity.sign_in").why
    assert (of_preview["user_affinity"] is Effect.SHOWN) == signs_in
    waits = "locked until the server releases" in plan.row("await_final_configuration").why
    assert (of_preview["await_final_configuration"] is Effect.SHOWN) == waits
    goes_on = "by itself" in plan.row("mandatory").why
    assert (of_preview["mandatory"] is Effect.PASSED) == goes_on
    assert of_preview["primary_account"] is _account_of(plan)


def _account_of(plan: Any) -> Effect:
    """Return what the words of the plan say about the account screen."""
    words = " ".join(row.why for row in plan.settings)
    if "Setup Assistant has no screen for the user's account" in words:
        return Effect.HIDDEN if plan.version >= MacOSVersion(10, 11) else Effect.SHOWN
    if "the account screen never shows" in words:
        return Effect.HIDDEN
    return Effect.MAY_SHOW if "it does not show if the server learned" in words else Effect.SHOWN


@given(profiles())
def test_the_columns_are_the_previews_of_each_version(profile: Any) -> None:
    preview = profile.preview()
    for at, version in enumerate(preview.versions):
        alone = {row.setting: row.effects for row in profile.preview(version).rows}
        assert alone == {row.setting: (row.effects[at],) for row in preview.rows}


def test_without_a_version_there_is_a_column_for_each_major_version_with_a_pane_of_its_own() -> None:
    preview = make().preview()
    assert list(map(str, preview.versions)) == COLUMNS
    for key in SkipKeys:
        there = [effect for effect in preview.row(key).effects if effect is not Effect.NOT_THERE]
        assert bool(there) == key.seen_on_macs


@given(profiles())
def test_text_and_picture_show_every_effect_in_its_place(profile: Any) -> None:
    preview = profile.preview()
    check_text(str(preview))
    lines = str(preview).splitlines()
    heads = lines[2].split()[1:]
    assert heads == COLUMNS
    root = read_svg(preview.svg())
    marks = [one for one in texts(root) if one.text in WORDS and place(one)[0] > 226]
    y_of = {place(one)[1] for one in marks}
    assert len(y_of) == len(preview.rows)
    for y, row in zip(sorted(y_of), preview.rows, strict=True):
        letters = [one.text for one in sorted(marks, key=place) if place(one)[1] == y]
        assert letters == [LETTERS[effect] for effect in row.effects]
        line = next(one for one in lines if one.strip().startswith(row.label) and one.startswith("  "))
        assert line.split()[-len(letters) :] == [WORDS[str(letter)] for letter in letters]


def _settings(version: str) -> list[str]:
    return [row.setting for row in make().preview(version).rows]


def test_a_person_meets_the_account_before_the_apple_account_from_26_on() -> None:
    old, new = _settings("15.6"), _settings("26.0")
    assert old.index("skip.AppleID") < old.index("primary_account") < old.index("skip.Location")
    assert new.index("primary_account") < new.index("skip.AppleID") < new.index("skip.Location")
    assert old.index("mandatory") < old.index("skip.Restore")
    assert new.index("skip.Restore") < new.index("mandatory")
    for order in (old, new):
        assert order[0] == "(always)"
        assert order.index("mandatory") < order.index("user_affinity") < order.index("skip.Privacy")


def test_the_gates_of_a_screen_are_marked() -> None:
    preview = make().preview()
    assert preview.row(SkipKeys.SOFTWARE_UPDATE).gate == "15.4+"
    assert preview.row(SkipKeys.OS_SHOWCASE).gate == "26.1-27.0"
    assert preview.row("primary_account").gate == ""
    strokes = [one for one in read_svg(preview.svg()) if one.get("stroke-width") == "2.5"]

    def changes(row: PreviewRow) -> int:
        there = [effect is not Effect.NOT_THERE for effect in row.effects]
        return sum(a != b for a, b in itertools.pairwise(there))

    in_legend = 1
    assert len(strokes) == in_legend + sum(changes(row) for row in preview.rows if row.introduced)
    assert changes(preview.row(SkipKeys.OS_SHOWCASE)) == 2


def test_notes_say_where_versions_differ_what_settings_of_accounts_do() -> None:
    notes = dict(make("modern", primary_account=NAMES).preview().notes)
    assert notes["Account"] == "the account is an administrator: a Mac needs at least one"
    profile = make("none", auto_advance=True)
    assert dict(profile.preview("10.15").notes)["Auto advance"].startswith("it needs macOS 11")
    assert dict(profile.preview().notes)["Auto advance"].startswith("10.15: it needs macOS 11")
    assert "11.1 to 27.0: Setup Assistant goes on" in dict(profile.preview().notes)["Auto advance"]


@each("name", [HOSTILE, "株" * 500, "مدرسة", "x" * 500])
def test_a_hostile_name_or_key_stays_text(name: str) -> None:
    rows = (attrs.evolve(make().preview("14").rows[0], label=name, setting=f"skip.{name}"),)
    preview = attrs.evolve(make().preview("14"), profile_name=name, rows=rows, notes=(("Account", name),))
    assert len(texts(read_svg(preview.svg()))) >= 6
    check_text(str(preview))
    assert len(repr(preview)) < 300
    assert preview._repr_html_() == preview.svg()


def test_the_picture_of_one_version_has_words_in_its_cells() -> None:
    preview = make(skip={SkipKeys.SIRI}).preview("14.1")
    words = [one.text for one in texts(read_svg(preview.svg())) if place(one)[0] > 226]
    assert words.count("hidden") == 1
    assert words.count("shown") == sum(row.effects == (Effect.SHOWN,) for row in preview.rows)


def test_a_text_that_is_no_version_is_refused() -> None:
    with pytest.raises(VersionError):
        make().preview("Sonoma")
