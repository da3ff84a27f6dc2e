"""Convert the settings of an enrollment policy for Macs to the members of a classic profile, and back.

An enrollment policy is an object of Intune's settings catalog: a tree of definitions, each with a value.
``CATALOG`` has one row per definition, which maps each value to members of a classic profile. Reading and
writing use the same table, and the meaning of the members is defined once, in the modules for classic
profiles. So a profile, its policy and the mirror of the policy cannot be read differently.

The rules of this file:

1. A choice has a value ``{definition}_0``, ``{definition}_1``... for each of its options, in order. Write the
   first option that matches.
2. A child belongs to an option of its parent, and is only written there. Children have no instance template.
3. ``_0`` hides a screen and ``_1`` shows it.
4. Keep unknown settings unchanged, with the value of the parent choice, and restore them there. A screen
   whose definition is newer than the catalog is recognised by its name, and follows the profile from then on.
5. A known definition with an unknown value is an error: its meaning would be lost.
6. Ignore a child under an option that it does not belong to.
7. Write every definition of the top level, because Graph refuses a policy without one of them.

Source: Microsoft Graph (beta), ``deviceManagementConfigurationPolicy``,
``deviceManagementConfigurationSetting`` and its types of instances. Shapes, definitions, templates and values
are observed in live tenants by two independent public projects, which agree on each of them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from pyade.builders.intune import fields
from pyade.builders.intune.fields import spelling
from pyade.builders.intune.json_reader import EXPORT_DEEPER, TYPE, JsonReader, is_truncated, list_items
from pyade.core.arguments import check_arguments
from pyade.core.macos.setup_screens import SkipKeys
from pyade.core.problems import Problem, warning

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
TOKEN_PREFIX: Final = "DepTokenId_"  # noqa: S105 - a prefix
"""The prefix of the token's id in ``creationSource``."""

SCREEN_PREFIX: Final = "ade_setupassistant_"
AFFINITY: Final = "ade_macos_useraffinity"
SIGN_IN: Final = "ade_macos_authenticationmethod"
_ACCOUNTS: Final = "ade_accountsettings_"
_ACCOUNT_TEMPLATE: Final = "3a7c9d2e-8f4b-4e1a-9c5d-6b8a3f7e2d4c"
_SCREEN: Final = "screen:"
# Name after the prefix, Apple's key, template of the instance, template of the value.
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


class ValueType(enum.Enum):
    """The type of a definition's value."""

    CHOICE = "choice"
    TEXT = "text"
    NUMBER = "number"


@attrs.frozen(kw_only=True)
class Setting:
    """One definition of the settings catalog.

    Attributes:
        id: ``settingDefinitionId``.
        value_type: Type of its value.
        options: For a choice, the members of a classic profile that each option stands for.
        member: For a text or a number, the member of a classic profile with the same value.
        parents: The values of parent choices to which it belongs; empty at the top level.
        instance_template: ``settingInstanceTemplateId``; "" for a child.
        value_template: ``settingValueTemplateId``; "" for none.
    """

    id: str
    value_type: ValueType = ValueType.CHOICE
    options: tuple[Mapping[str, Any], ...] = ()
    member: str = ""
    parents: tuple[str, ...] = ()
    instance_template: str = ""
    value_template: str = ""

    @property
    def members(self) -> frozenset[str]:
        """The members of a classic profile that it maps to."""
        return frozenset({name for option in self.options for name in option} | {self.member} - {""})


def screen_member(key: str) -> str:
    """Return the pseudo member of the table that is true if the screen *key* is hidden."""
    return f"{_SCREEN}{key}"


def is_screen(member: str) -> bool:
    """Return True if *member* is a result of ``screen_member``."""
    return member.startswith(_SCREEN)


def key_of(member: str) -> str:
    """Return the skip key of a result of ``screen_member``."""
    return member.removeprefix(_SCREEN)


def screen_of(definition: str) -> str:
    """Return the skip key of the screen that a definition shows or hides; "" if there is none.

    A definition that is newer than this table is recognised by its name, which is the key in lower case.
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
            options=({screen_member(key): True}, {screen_member(key): False}),  # rule 3
            instance_template=instance_template,
            value_template=value_template,
        )


def _account(
    name: str,
    value_type: ValueType = ValueType.CHOICE,
    options: tuple[Mapping[str, Any], ...] = (),
    *,
    below: tuple[str, ...],
    member: str = "",
    value_template: str = _ACCOUNT_TEMPLATE,
) -> Setting:
    return Setting(
        id=f"{_ACCOUNTS}{name}",
        value_type=value_type,
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
        # Only _2 was observed; the others are a guess, and are never written.
        options=({fields.WEB: False}, {fields.WEB: False}, {fields.WEB: True}),
        parents=(f"{AFFINITY}_1",),
    ),
    Setting(
        id="ade_macos_awaitconfiguration",
        options=_switch(fields.AWAIT),
        instance_template="7e4d9c8a-2f5b-4a3c-8d9e-1b6a4f7c2e5d",
        value_template="3a7c9d2e-8f4b-4e1a-9c5d-6b8a3f7e2d4c",
    ),
    # An administrator exists if it has a name, which is a child. This definition is always present.
    _account(
        "createlocaladmin",
        options=({fields.ADMIN_NAME: ""}, {}),
        below=("ade_macos_awaitconfiguration_0", "ade_macos_awaitconfiguration_1"),
    ),
    _account("adminaccountname", ValueType.TEXT, member=fields.ADMIN_NAME, below=("createlocaladmin_1",)),
    _account(
        "adminaccountfullname", ValueType.TEXT, member=fields.ADMIN_FULL_NAME, below=("createlocaladmin_1",)
    ),
    _account("hideusersgroups", options=_switch(fields.ADMIN_HIDDEN), below=("createlocaladmin_1",)),
    # Graph refuses an administrator without it; 0 means never.
    _account(
        "adminaccountpasswordrotation",
        ValueType.NUMBER,
        member=fields.ROTATION,
        below=("createlocaladmin_1",),
    ),
    # No value template: live policies have none.
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
    _account(
        "primaryaccountfullname", ValueType.TEXT, member=fields.FULL_NAME, below=("prefillaccountinfo_1",)
    ),
    _account(
        "primaryaccountname", ValueType.TEXT, member=fields.ACCOUNT_NAME, below=("prefillaccountinfo_1",)
    ),
    # Sources disagree which member the lock is; in live mirrors both are equal.
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
        value_type=ValueType.TEXT,
        member=fields.DEPARTMENT,
        instance_template="1fd43c7c-0c7a-4dcc-8392-7b1776f86d14",
        value_template="180721e2-b467-40a3-b631-b2f28c5d9297",
    ),
    Setting(
        id="ade_setupassistant_departmentphone",
        value_type=ValueType.TEXT,
        member=fields.PHONE,
        instance_template="383a4d4b-0bbc-4791-bc48-6def8716ec96",
        value_template="f7322d5b-07aa-4b5c-9846-bc3e547e7c0b",
    ),
    *_screens(),
)
"""All known definitions, parents before their children."""

BY_ID: Final = {setting.id: setting for setting in CATALOG}
TOP: Final = tuple(setting for setting in CATALOG if not setting.parents)
"""The definitions of the top level: Graph refuses a policy without one of them."""

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
_MAX_SHOWN: Final = 80


@check_arguments
@attrs.frozen(kw_only=True)
class UnknownSetting:
    """A setting of a policy that pyade does not know, as it was read.

    Attributes:
        parent: The value of its parent choice, such as ``ade_macos_useraffinity_1``; "" at the top level.
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
        """The skip key of the screen that it shows or hides, from its name; "" if there is none."""
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
        """Return the instance with the value that hides or shows its screen."""
        value = f"{self.definition}_{0 if is_hidden else 1}"
        return {**self.body, _CHOICE: {**self.body[_CHOICE], "value": value}}


@attrs.frozen
class Tree:
    """The settings that were read from a policy.

    Attributes:
        members: The equivalent members of a classic profile.
        places: The path of the setting that each member was read from.
        unknown: The settings that pyade does not know.
    """

    members: dict[str, Any]
    places: dict[str, str]
    unknown: tuple[UnknownSetting, ...]


def read_tree(reader: JsonReader, problems: list[Problem]) -> Tree:
    """Return the settings of a policy.

    Args:
        reader: The reader of the policy, which collects errors.
        problems: The list to which warnings are added.
    """
    tree = _TreeReader(reader, problems)
    value = reader.take(SETTINGS)
    for item in list_items(value) or ():
        instance = item.get(_INSTANCE, item) if isinstance(item, Mapping) else item
        tree.read(instance, "")
    tree.finish()
    return Tree(tree.members, tree.places, tuple(tree.unknown))


def write_tree(members: Mapping[str, Any], unknown: Iterable[UnknownSetting]) -> list[dict[str, Any]]:
    """Return the complete settings of a policy that are equivalent to *members* of a classic profile.

    Args:
        members: Members of the profile, with ``screen_member`` of each hidden screen.
        unknown: Unknown settings to restore under their parent choice; omitted if that has another value now.
    """
    kept = tuple(unknown)
    instances = [_build_instance(setting, members, kept) for setting in TOP]  # rule 7
    instances += _restore_unknown("", members, kept)
    return [{TYPE: f"{_GRAPH}Setting", _INSTANCE: instance} for instance in instances]


def values_in(settings: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the value of every choice in written settings, which are the possible parents of a child."""
    parts = [setting[_INSTANCE] for setting in settings]
    while parts:
        holder = parts.pop().get(_CHOICE)
        if isinstance(holder, Mapping):
            yield str(holder.get("value"))
            parts += (part for part in list_items(holder.get(_CHILDREN)) or () if isinstance(part, Mapping))


def option_of(setting: Setting, members: Mapping[str, Any]) -> int | None:
    """Return the index of the first option of a choice that matches *members*; None if none does."""
    for index, option in enumerate(setting.options):  # rule 1
        if all(members.get(name, False) == value for name, value in option.items()):
            return index
    return None


class _TreeReader:
    """Reads a tree of settings, and collects members and problems."""

    def __init__(self, reader: JsonReader, problems: list[Problem]) -> None:
        self.members: dict[str, Any] = {}
        self.places: dict[str, str] = {}
        self.unknown: list[UnknownSetting] = []
        self._path = reader.path_of(SETTINGS)
        self._errors = reader.problems
        self._problems = problems
        self._seen: dict[str, str] = {}

    def read(self, instance: Any, parent: str) -> None:
        """Read one instance and its children."""
        if not isinstance(instance, Mapping):
            self._add_error(self._path, f"objects, not {type(instance).__name__}", fix=EXPORT_DEEPER)
            return
        definition = instance.get(_ID)
        if not isinstance(definition, str) or not definition:
            self._add_error(self._path, f"settings with {_ID}")
            return
        where = f"{self._path}.{definition[:_MAX_SHOWN]}"
        setting = BY_ID.get(definition)
        if setting is not None and parent not in (setting.parents or ("",)):  # rule 6
            below = parent or "the top level"
            self._problems.append(
                warning(where, "", f"not below {below}: it has no effect there", "it was ignored")
            )
        elif definition in self._seen:
            self._add_error(where, "only one instance")
        elif setting is None:
            self._keep_unknown(instance, parent, where)
        elif setting.value_type is ValueType.CHOICE:
            self._read_choice(setting, instance, where)
        else:
            self._read_simple(setting, instance, where)

    def finish(self) -> None:
        """Add what follows from missing settings."""
        missing = [setting.id for setting in TOP if setting.id not in self._seen]
        if missing:
            allowed = f"all settings of the template; {len(missing)} are missing, and were read as not set"
            fix = "export the policy with $expand=settings"
            self._problems.append(warning(self._path, ", ".join(missing), allowed, fix))
        sign_in = self._seen.get(SIGN_IN)
        if self.members.get(fields.USER) and sign_in is None:
            self._record({fields.WEB: True}, f"{self._path}.{AFFINITY}")
            allowed = f"{SIGN_IN}; it is missing, and was read as modern authentication"
            self._problems.append(warning(self.places[fields.WEB], "", allowed, "check it in Intune"))
        elif sign_in is not None and not self.members[fields.WEB]:
            allowed = f"{SIGN_IN}_2: no other value is known; it was read as Setup Assistant (legacy)"
            self._problems.append(warning(self.places[fields.WEB], sign_in, allowed, "check it in Intune"))

    def _read_choice(self, setting: Setting, instance: Mapping[str, Any], where: str) -> None:
        holder = instance.get(_CHOICE)
        value = holder.get("value") if isinstance(holder, Mapping) else None
        values = [f"{setting.id}_{number}" for number in range(len(setting.options))]
        if value not in values:  # rule 5
            text = value[:_MAX_SHOWN] if isinstance(value, str) else ""
            self._add_error(
                where, f"one of {', '.join(values)}", text, EXPORT_DEEPER if is_truncated(holder) else ""
            )
            return
        self._seen[setting.id] = str(value)
        self._record(setting.options[values.index(str(value))], where)
        for child in list_items(instance[_CHOICE].get(_CHILDREN)) or ():
            self.read(child, str(value))

    def _read_simple(self, setting: Setting, instance: Mapping[str, Any], where: str) -> None:
        holder = instance.get(_SIMPLE)
        value = holder.get("value") if isinstance(holder, Mapping) else None
        value_type, words = (
            (str, "a text") if setting.value_type is ValueType.TEXT else (int, "a whole number")
        )
        if not isinstance(holder, Mapping) or not (value is None or type(value) is value_type):
            self._add_error(
                where, f"{_SIMPLE} with {words}", fix=EXPORT_DEEPER if is_truncated(holder) else ""
            )
            return
        self._seen[setting.id] = ""
        self._record({setting.member: value}, where)

    def _record(self, values: Mapping[str, Any], where: str) -> None:
        self.members |= values
        self.places |= dict.fromkeys(values, where)

    def _keep_unknown(self, instance: Mapping[str, Any], parent: str, where: str) -> None:
        kept = UnknownSetting(parent=parent, body=instance)
        allowed, fix = "not a setting that pyade knows; kept for writing", "check whether you need it"
        if kept.screen:
            allowed = f"not in the catalog; read as the screen {kept.screen} because of its name"
            fix = "check in Intune that it is this screen"
            self._seen[kept.definition] = ""
            self._record({screen_member(kept.screen): kept.is_hidden}, where)
        self.unknown.append(kept)  # rule 4
        self._problems.append(warning(where, "", allowed, fix))

    def _add_error(self, where: str, allowed: str, value: str = "", fix: str = "") -> None:
        fix = fix or "check its meaning in Intune, and correct it"
        self._errors.append(Problem(where, value, allowed, fix))


def _build_instance(
    setting: Setting, members: Mapping[str, Any], unknown: tuple[UnknownSetting, ...]
) -> dict[str, Any]:
    kind = "Choice" if setting.value_type is ValueType.CHOICE else "Simple"
    body: dict[str, Any] = {TYPE: f"{_GRAPH}{kind}SettingInstance", _ID: setting.id}
    if setting.instance_template:
        template = {"settingInstanceTemplateId": setting.instance_template}
        body["settingInstanceTemplateReference"] = template
    value: dict[str, Any]
    if setting.value_type is ValueType.CHOICE:
        chosen = f"{setting.id}_{option_of(setting, members) or 0}"
        # Rule 2
        children = [_build_instance(child, members, unknown) for child in CATALOG if chosen in child.parents]
        children += _restore_unknown(chosen, members, unknown)
        value = {TYPE: f"{_GRAPH}ChoiceSettingValue", "value": chosen, _CHILDREN: children}
    else:
        form = "String" if setting.value_type is ValueType.TEXT else "Integer"
        value = {TYPE: f"{_GRAPH}{form}SettingValue", "value": members[setting.member]}
    if setting.value_template:
        value["settingValueTemplateReference"] = {"settingValueTemplateId": setting.value_template}
    body[_CHOICE if setting.value_type is ValueType.CHOICE else _SIMPLE] = value
    return body


def _restore_unknown(
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
