"""The tree of settings in an enrollment policy: to the members of a classic profile, and back.

The rules of this file:

1. What the catalog does not know is kept as it came, with the value of the choice below which it stands, and
   put back there. A screen whose definition is newer than the catalog is told by its name, and follows the
   profile from then on.
2. A known definition with a value that is not known cannot be read: what it means would be lost.
3. A child below an option that it does not belong to says nothing.
4. Writing makes every definition at the top, as Graph refuses a policy that lacks one.

Source: Microsoft Graph (beta), ``deviceManagementConfigurationSetting`` and its kinds of instances; the
shapes are observed.

The settings of an enrollment policy for Macs, as data: one table, read in both directions.

An enrollment policy is an object of Intune's settings catalog: a tree of definitions, each with a value.
Every definition has one row here, which says what it means in the members of a classic profile. Reading a
policy goes from the value to the members, writing one from the members to the value; what the members of a
classic profile mean to pyade is said once, in the modules for these. So a profile, its policy and the mirror
of the policy cannot be read differently.

The rules of this table:

1. A choice has a value ``{definition}_0``, ``{definition}_1``... for each of its options, in their order. The
   first option that fits is written.
2. A child stands below an option of its parent, and is only written there. Children carry no instance
   template.
3. A screen is hidden by ``_0`` and shown by ``_1``.

Source: Microsoft Graph (beta), ``deviceManagementConfigurationPolicy``; definitions, templates and values are
observed in live tenants by two independent public projects, which agree on each of them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from pyade.builders.intune import fields
from pyade.builders.intune.fields import spelling
from pyade.builders.intune.json_reader import TYPE, WHOLE, Members, is_cut, items, warning
from pyade.core.arguments import check_arguments
from pyade.core.macos.setup_screens import SkipKeys
from pyade.core.problems import Problem

TEMPLATE: Final = "2e29557d-70fc-405a-8082-d1e5b6be2b8c_1"
"""The template of an enrollment policy for Macs, version 1."""

OTHER_TEMPLATES: Final[Mapping[str, str]] = {
    "27d20e9c-50c1-48f8-a44c-f37de4510051": "iOS",
    "46af9f2a-ea44-41f5-9a93-baeebd93776e": "tvOS",
    "b974d292-62c4-4853-bdab-166cf42df51c": "visionOS",
}
"""The templates of other platforms, without their versions."""

PLATFORM: Final = "macOS"
TECHNOLOGY: Final = "enrollment"
TOKEN_PREFIX: Final = "DepTokenId_"  # noqa: S105 - it stands before the id of a token
"""What stands before the token's id in ``creationSource``."""

SCREEN_PREFIX: Final = "ade_setupassistant_"
AFFINITY: Final = "ade_macos_useraffinity"
SIGN_IN: Final = "ade_macos_authenticationmethod"
_ACCOUNTS: Final = "ade_accountsettings_"
_ACCOUNT_TEMPLATE: Final = "3a7c9d2e-8f4b-4e1a-9c5d-6b8a3f7e2d4c"
_SCREEN: Final = "screen:"
# Name behind the prefix, Apple's key, template of the instance, template of the value.
_SCREEN_TABLE: Final = """\
locationservices Location
    5dca1893-31cd-49b7-aadf-c26990ea0639 6f73700e-a14b-4784-9923-512a97297c41
restore Restore
    b4434e35-4131-4b13-90cb-4334cd9768dd 78842c1b-d090-407d-9dec-a3a4a168a36f
appleid AppleID
    4f26cd1f-5fd1-4d6c-af69-f18ade85aee9 469e5c1a-c2f8-44fb-b515-f8532c2dff40
termsandconditions TOS
    5a33bd8e-9df4-422c-92f5-3d5294a3e015 404a8266-5c46-44b3-bf63-d8974d91c8f9
touchfaceid Biometric
    0deedc8e-1597-47f0-a271-4ae5029c1795 f11533e6-85a1-41c3-b23d-7a7c0bc2f7f8
applepay Payment
    c7b005a7-148a-40b0-aa06-8a6eaafa6fc0 a18db77d-76e6-4bf8-ab60-98d1e34ed8df
siri Siri
    764673c0-b331-478e-905f-ef45428fae99 f3c03777-e89d-4fbc-bc1a-75c4858fa579
diagnosticsdata Diagnostics
    6a6c0b44-8403-4213-8e34-fd21e416c0f3 8e6986f8-3f2b-4a22-989d-08603dba0707
filevault FileVault
    7d8e9c44-3b2a-4f13-8a5e-2c9d1b4f5a3e 2f5c47e9-aa1b-4c35-9e8d-1fa2b8c3d7ea
iclouddiagnostics iCloudDiagnostics
    4c8a7d9e-2f5b-4a3c-9d8e-1b6a4f7c2e9d 9a7d5c21-4e3b-4f8a-a9c6-7b5d3e1f2c4a
icloudstorage iCloudStorage
    8f7d3c9a-4e2b-4d1a-9c8e-6b5a3d7f2e4c 5b3e8a7c-9d2f-4a1c-8e5b-3d7a2f9c4e1b
appearance Appearance
    61b602c2-86a3-4bca-82e5-cc7e14e17895 87067516-5437-44ce-a3cc-cee7b6518b46
screentime ScreenTime
    90501450-54d9-4695-a16c-fbfead918c24 b1d1feea-8d71-49bb-8cf6-c736321ae9b6
privacy Privacy
    129ac5ce-c6b8-4402-bf18-40045c11c10d 177b8bd8-8dc1-4835-82af-16e81dc7e94f
accessibility Accessibility
    9c7e4d8a-3f2b-4e1a-8d9c-5b7a3e6f2c4d 3f8d7c9b-5e2a-4d1c-8f7e-2b9a5c6d3e1f
unlockwithwatch UnlockWithWatch
    5c8e9d7a-4f3b-4d2a-8e9c-7b6a5d3f2e1c 7e9d4c8a-2f5b-4e3c-9d8a-6b7c3e5f2a1d
enablelockdownmode EnableLockdownMode
    4a9db745-821d-44a1-a26a-06f2c637d8b8 181a5e6d-df5c-4016-b484-3130d54ee9ab
softwareupdate SoftwareUpdate
    1ad911de-03ea-45a1-917e-adf9ececc09c d9630ff4-94a4-4525-b37a-7c233a23a2bd
softwareupdatecompleted UpdateCompleted
    8afaa22c-513a-41b4-9b49-1c888a6f1c53 80bdf240-ad52-45fb-9a58-c888d812e75a
termsofaddress TermsOfAddress
    21017ab9-73d3-45dd-b715-8742791a5d73 df5a331d-7042-4abc-91f4-a37c82deaf08
intelligence Intelligence
    cca42541-0513-41a6-ae74-e1fe878b0593 d0c43d95-99c7-40ce-b3a6-33098215adc9
osshowcase OSShowcase
    5d9c8e7a-3f2b-4d1a-8e9c-6b5a7d3f2e4c 8c2d7f9e-4a3b-4e1c-9d8e-5b7a3c6f2d1e
appstore AppStore
    4c8e7d9a-3f2b-4d1a-9c8e-5b7a6d3f2e1c 7e8d9c4a-2f5b-4e3c-8d9a-6b7c3e5f2a1d"""


class Kind(enum.Enum):
    """What a definition has for a value."""

    CHOICE = "choice"
    TEXT = "text"
    NUMBER = "number"


@attrs.frozen(kw_only=True)
class Setting:
    """One definition of the settings catalog.

    Attributes:
        id: ``settingDefinitionId``.
        kind: What its value is.
        options: For a choice, what each option means in members of a classic profile.
        member: For a text or a number, the member of a classic profile that holds it.
        parents: The values of choices below which it stands; empty at the top.
        instance_template: ``settingInstanceTemplateId``; "" for a child.
        value_template: ``settingValueTemplateId``; "" for none.
    """

    id: str
    kind: Kind = Kind.CHOICE
    options: tuple[Mapping[str, Any], ...] = ()
    member: str = ""
    parents: tuple[str, ...] = ()
    instance_template: str = ""
    value_template: str = ""

    @property
    def members(self) -> frozenset[str]:
        """The members of a classic profile that it says something about."""
        return frozenset({name for option in self.options for name in option} | {self.member} - {""})


def screen_member(key: str) -> str:
    """Return the name under which the table knows whether a screen is hidden."""
    return f"{_SCREEN}{key}"


def is_screen(member: str) -> bool:
    """Return True if *member* says whether a screen is hidden."""
    return member.startswith(_SCREEN)


def key_of(member: str) -> str:
    """Return the skip key of the screen that *member* says is hidden or not."""
    return member.removeprefix(_SCREEN)


def screen_of(definition: str) -> str:
    """Return the skip key of the screen that a definition shows or hides; "" if it is of none.

    A definition that is newer than this table is told by its name, which is the key in lower case.
    """
    if not definition.startswith(SCREEN_PREFIX):
        return ""
    if definition in SCREENS:
        return SCREENS[definition]
    key = spelling(definition.removeprefix(SCREEN_PREFIX))
    return key if key in _OTHER_KEYS else ""


def _screens() -> Iterator[Setting]:
    words = iter(_SCREEN_TABLE.split())
    for name, key, instance_template, value_template in zip(words, words, words, words, strict=True):
        yield Setting(
            id=f"{SCREEN_PREFIX}{name}",
            options=({screen_member(key): True}, {screen_member(key): False}),
            instance_template=instance_template,
            value_template=value_template,
        )


def _account(
    name: str,
    kind: Kind = Kind.CHOICE,
    options: tuple[Mapping[str, Any], ...] = (),
    *,
    below: tuple[str, ...],
    member: str = "",
    value_template: str = _ACCOUNT_TEMPLATE,
) -> Setting:
    return Setting(
        id=f"{_ACCOUNTS}{name}",
        kind=kind,
        options=options,
        member=member,
        parents=tuple(value if value.startswith("ade_") else f"{_ACCOUNTS}{value}" for value in below),
        value_template=value_template,
    )


def _switch(member: str) -> tuple[Mapping[str, Any], ...]:
    return ({member: False}, {member: True})


CATALOG: Final = (
    Setting(
        id=AFFINITY,
        options=_switch(fields.USER),
        instance_template="f3ddbbae-bb3d-45e8-bb9c-854f674e56ef",
        value_template="e34ab06d-486a-4cc0-a867-295515ac2dfc",
    ),
    Setting(
        id=SIGN_IN,
        # Only _2 has been seen; what the others are is a guess, and they are never written.
        options=({fields.WEB: False}, {fields.WEB: False}, {fields.WEB: True}),
        parents=(f"{AFFINITY}_1",),
    ),
    Setting(
        id="ade_macos_awaitconfiguration",
        options=_switch(fields.AWAIT),
        instance_template="7e4d9c8a-2f5b-4a3c-8d9e-1b6a4f7c2e5d",
        value_template="3a7c9d2e-8f4b-4e1a-9c5d-6b8a3f7e2d4c",
    ),
    # An administrator is there if it has a name, which is a child. It is always present.
    _account(
        "createlocaladmin",
        options=({fields.ADMIN_NAME: ""}, {}),
        below=("ade_macos_awaitconfiguration_0", "ade_macos_awaitconfiguration_1"),
    ),
    _account("adminaccountname", Kind.TEXT, member=fields.ADMIN_NAME, below=("createlocaladmin_1",)),
    _account("adminaccountfullname", Kind.TEXT, member=fields.ADMIN_FULL_NAME, below=("createlocaladmin_1",)),
    _account("hideusersgroups", options=_switch(fields.ADMIN_HIDDEN), below=("createlocaladmin_1",)),
    # Graph refuses an administrator without it; 0 is for never.
    _account(
        "adminaccountpasswordrotation", Kind.NUMBER, member=fields.ROTATION, below=("createlocaladmin_1",)
    ),
    # No template for its value: live policies come without one.
    _account(
        "createlocalprimary",
        options=(
            {fields.SKIP: True},
            {fields.SKIP: False, fields.REGULAR: True},
            {fields.SKIP: False, fields.REGULAR: False},
        ),
        below=("createlocaladmin_0", "createlocaladmin_1"),
        value_template="",
    ),
    _account(
        "prefillaccountinfo",
        options=({fields.MANUAL: True}, {fields.MANUAL: False}),
        below=("createlocalprimary_1", "createlocalprimary_2"),
    ),
    _account(
        "restrictediting",
        options=_switch(fields.LOCK),
        below=("prefillaccountinfo_1",),
        value_template="",
    ),
    _account("primaryaccountfullname", Kind.TEXT, member=fields.FULL_NAME, below=("prefillaccountinfo_1",)),
    _account("primaryaccountname", Kind.TEXT, member=fields.ACCOUNT_NAME, below=("prefillaccountinfo_1",)),
    # Sources disagree which member the lock is; live mirrors have both alike.
    Setting(
        id="ade_lockedenrollment",
        options=(
            {fields.MANDATORY: False, fields.LOCKED: False},
            {fields.MANDATORY: True, fields.LOCKED: True},
        ),
        instance_template="e105d3a4-7318-454a-a231-0d1510ebf1e3",
        value_template="49085612-4cce-4305-822d-6a6c793285be",
    ),
    Setting(
        id="ade_setupassistant_department",
        kind=Kind.TEXT,
        member=fields.DEPARTMENT,
        instance_template="1fd43c7c-0c7a-4dcc-8392-7b1776f86d14",
        value_template="180721e2-b467-40a3-b631-b2f28c5d9297",
    ),
    Setting(
        id="ade_setupassistant_departmentphone",
        kind=Kind.TEXT,
        member=fields.PHONE,
        instance_template="383a4d4b-0bbc-4791-bc48-6def8716ec96",
        value_template="f7322d5b-07aa-4b5c-9846-bc3e547e7c0b",
    ),
    *_screens(),
)
"""Every definition that is known, parents before their children."""

BY_ID: Final = {setting.id: setting for setting in CATALOG}
TOP: Final = tuple(setting for setting in CATALOG if not setting.parents)
"""What stands at the top: Graph refuses a policy that lacks one of them."""

SCREENS: Final = {setting.id: key_of(name) for setting in TOP for name in setting.members if is_screen(name)}
"""The skip key of each definition of a screen."""

_OTHER_KEYS: Final = frozenset(map(str, SkipKeys)) - set(SCREENS.values())


SETTINGS: Final = "settings"
_GRAPH: Final = "#microsoft.graph.deviceManagementConfiguration"
_ID: Final = "settingDefinitionId"
_INSTANCE: Final = "settingInstance"
_CHOICE: Final = "choiceSettingValue"
_SIMPLE: Final = "simpleSettingValue"
_CHILDREN: Final = "children"
_SHOWN: Final = 80


@check_arguments
@attrs.frozen(kw_only=True)
class UnknownSetting:
    """A setting of a policy that pyade does not know, as it came.

    Attributes:
        parent: The value of the choice below which it stands, such as ``ade_macos_useraffinity_1``; "" at the
            top.
        body: The instance, with its ``settingDefinitionId``.
    """

    parent: str
    body: Mapping[str, Any] = attrs.field(hash=False, repr=False)

    @property
    def definition(self) -> str:
        """Its ``settingDefinitionId``."""
        return str(self.body.get(_ID, ""))

    @property
    def screen(self) -> str:
        """The skip key of the screen that it shows or hides, told by its name; "" if it is of none."""
        return screen_of(self.definition) if not self.parent and self._is_hidden is not None else ""

    @property
    def is_hidden(self) -> bool:
        """True if it hides its screen."""
        return self._is_hidden is True

    @property
    def _is_hidden(self) -> bool | None:
        holder = self.body.get(_CHOICE)
        value = holder.get("value") if isinstance(holder, Mapping) else None
        return {f"{self.definition}_0": True, f"{self.definition}_1": False}.get(str(value))

    def showing(self, *, is_hidden: bool) -> dict[str, Any]:
        """Return the instance with that value for its screen."""
        value = f"{self.definition}_{0 if is_hidden else 1}"
        return {**self.body, _CHOICE: {**self.body[_CHOICE], "value": value}}


@attrs.frozen
class Tree:
    """What a tree of settings comes to.

    Attributes:
        members: The members of a classic profile that say the same.
        places: Where each of them was said.
        unknown: What pyade does not know.
    """

    members: dict[str, Any]
    places: dict[str, str]
    unknown: tuple[UnknownSetting, ...]


def read_tree(members: Members, problems: list[Problem]) -> Tree:
    """Return what the settings of a policy say; what is wrong with them goes to the problems of *members*."""
    reader = _Reader(members, problems)
    value = members.take(SETTINGS)
    for item in items(value) or ():
        instance = item.get(_INSTANCE, item) if isinstance(item, Mapping) else item
        reader.read(instance, "")
    reader.finish()
    return Tree(reader.members, reader.places, tuple(reader.unknown))


def write_tree(members: Mapping[str, Any], unknown: Iterable[UnknownSetting]) -> list[dict[str, Any]]:
    """Return the complete settings of a policy that say the same as *members* of a classic profile.

    Args:
        members: Of the profile, with ``screen_member`` of each screen that is hidden.
        unknown: What is put back where it was; nothing, where the choice above it has another value now.
    """
    kept = tuple(unknown)
    instances = [_instance(setting, members, kept) for setting in TOP]
    instances += _put_back("", members, kept)
    return [{TYPE: f"{_GRAPH}Setting", _INSTANCE: instance} for instance in instances]


def values_in(settings: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the value of every choice in written settings: what a child can stand below."""
    parts = [setting[_INSTANCE] for setting in settings]
    while parts:
        holder = parts.pop().get(_CHOICE)
        if isinstance(holder, Mapping):
            yield str(holder.get("value"))
            parts += (part for part in items(holder.get(_CHILDREN)) or () if isinstance(part, Mapping))


def option_of(setting: Setting, members: Mapping[str, Any]) -> int | None:
    """Return which option of a choice says the same as *members*; None if there is none."""
    for index, option in enumerate(setting.options):
        if all(members.get(name, False) == meant for name, meant in option.items()):
            return index
    return None


class _Reader:
    """Goes through a tree, and collects what it says."""

    def __init__(self, members: Members, problems: list[Problem]) -> None:
        self.members: dict[str, Any] = {}
        self.places: dict[str, str] = {}
        self.unknown: list[UnknownSetting] = []
        self._path = members.at(SETTINGS)
        self._errors = members.problems
        self._problems = problems
        self._seen: dict[str, str] = {}

    def read(self, instance: Any, parent: str) -> None:
        """Read one instance, and what stands below it."""
        if not isinstance(instance, Mapping):
            self._wrong(self._path, f"objects, not {type(instance).__name__}", fix=WHOLE)
            return
        definition = instance.get(_ID)
        if not isinstance(definition, str) or not definition:
            self._wrong(self._path, f"settings with {_ID}")
            return
        where = f"{self._path}.{definition[:_SHOWN]}"
        setting = BY_ID.get(definition)
        if setting is not None and parent not in (setting.parents or ("",)):
            below = parent or "the top"
            self._problems.append(
                warning(where, f"not below {below}: it says nothing there", "it was left out")
            )
        elif definition in self._seen:
            self._wrong(where, "there once")
        elif setting is None:
            self._keep(instance, parent, where)
        elif setting.kind is Kind.CHOICE:
            self._choice(setting, instance, where)
        else:
            self._simple(setting, instance, where)

    def finish(self) -> None:
        """Say what follows from what is not there."""
        missing = [setting.id for setting in TOP if setting.id not in self._seen]
        if missing:
            allowed = (
                f"all settings of the template; {len(missing)} are not there, and were taken for not set"
            )
            fix = "export the policy with $expand=settings"
            self._problems.append(warning(self._path, allowed, fix, ", ".join(missing)))
        sign_in = self._seen.get(SIGN_IN)
        if self.members.get(fields.USER) and sign_in is None:
            self._say({fields.WEB: True}, f"{self._path}.{AFFINITY}")
            allowed = f"{SIGN_IN}; it is not there, and was taken for modern authentication"
            self._problems.append(warning(self.places[fields.WEB], allowed, "check it in Intune"))
        elif sign_in is not None and not self.members[fields.WEB]:
            allowed = f"{SIGN_IN}_2: no other is known; it was taken for Setup Assistant (legacy)"
            self._problems.append(warning(self.places[fields.WEB], allowed, "check it in Intune", sign_in))

    def _choice(self, setting: Setting, instance: Mapping[str, Any], where: str) -> None:
        holder = instance.get(_CHOICE)
        value = holder.get("value") if isinstance(holder, Mapping) else None
        values = [f"{setting.id}_{number}" for number in range(len(setting.options))]
        if value not in values:
            shown = value[:_SHOWN] if isinstance(value, str) else ""
            self._wrong(where, f"one of {', '.join(values)}", shown, WHOLE if is_cut(holder) else "")
            return
        self._seen[setting.id] = str(value)
        self._say(setting.options[values.index(str(value))], where)
        for child in items(instance[_CHOICE].get(_CHILDREN)) or ():
            self.read(child, str(value))

    def _simple(self, setting: Setting, instance: Mapping[str, Any], where: str) -> None:
        holder = instance.get(_SIMPLE)
        value = holder.get("value") if isinstance(holder, Mapping) else None
        kind, words = (str, "a text") if setting.kind is Kind.TEXT else (int, "a whole number")
        if not isinstance(holder, Mapping) or not (value is None or type(value) is kind):
            self._wrong(where, f"{_SIMPLE} with {words}", fix=WHOLE if is_cut(holder) else "")
            return
        self._seen[setting.id] = ""
        self._say({setting.member: value}, where)

    def _say(self, said: Mapping[str, Any], where: str) -> None:
        self.members |= said
        self.places |= dict.fromkeys(said, where)

    def _keep(self, instance: Mapping[str, Any], parent: str, where: str) -> None:
        kept = UnknownSetting(parent=parent, body=instance)
        allowed, fix = "not a setting that pyade knows; kept for the way back", "check whether you need it"
        if kept.screen:
            allowed, fix = f"not in the catalog; taken for the screen {kept.screen} by its name", "check it"
            self._seen[kept.definition] = ""
            self._say({screen_member(kept.screen): kept.is_hidden}, where)
        self.unknown.append(kept)
        self._problems.append(warning(where, allowed, fix))

    def _wrong(self, where: str, allowed: str, value: str = "", fix: str = "") -> None:
        fix = fix or "see what it means in Intune, and correct it"
        self._errors.append(Problem(where, value, allowed, fix))


def _instance(
    setting: Setting, members: Mapping[str, Any], unknown: tuple[UnknownSetting, ...]
) -> dict[str, Any]:
    kind = "Choice" if setting.kind is Kind.CHOICE else "Simple"
    body: dict[str, Any] = {TYPE: f"{_GRAPH}{kind}SettingInstance", _ID: setting.id}
    if setting.instance_template:
        template = {"settingInstanceTemplateId": setting.instance_template}
        body["settingInstanceTemplateReference"] = template
    value: dict[str, Any]
    if setting.kind is Kind.CHOICE:
        chosen = f"{setting.id}_{option_of(setting, members) or 0}"
        children = [_instance(child, members, unknown) for child in CATALOG if chosen in child.parents]
        children += _put_back(chosen, members, unknown)
        value = {TYPE: f"{_GRAPH}ChoiceSettingValue", "value": chosen, _CHILDREN: children}
    else:
        form = "String" if setting.kind is Kind.TEXT else "Integer"
        value = {TYPE: f"{_GRAPH}{form}SettingValue", "value": members[setting.member]}
    if setting.value_template:
        value["settingValueTemplateReference"] = {"settingValueTemplateId": setting.value_template}
    body[_CHOICE if setting.kind is Kind.CHOICE else _SIMPLE] = value
    return body


def _put_back(
    parent: str, members: Mapping[str, Any], unknown: tuple[UnknownSetting, ...]
) -> Iterator[dict[str, Any]]:
    for kept in unknown:
        if kept.parent != parent:
            continue
        if kept.screen:
            is_hidden = bool(members.get(screen_member(kept.screen)))
            yield kept.showing(is_hidden=is_hidden)
        else:
            yield dict(kept.body)
