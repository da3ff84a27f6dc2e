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
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from pyade.builders.intune import catalog, names
from pyade.builders.intune.catalog import BY_ID, CATALOG, TOP, Kind, Setting
from pyade.builders.intune.reading import TYPE, WHOLE, Members, is_cut, items, warning
from pyade.core.kinds import checks_kinds
from pyade.core.problems import Problem

SETTINGS: Final = "settings"
_GRAPH: Final = "#microsoft.graph.deviceManagementConfiguration"
_ID: Final = "settingDefinitionId"
_INSTANCE: Final = "settingInstance"
_CHOICE: Final = "choiceSettingValue"
_SIMPLE: Final = "simpleSettingValue"
_CHILDREN: Final = "children"
_SHOWN: Final = 80


@checks_kinds
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
        return catalog.screen_of(self.definition) if not self.parent and self._is_hidden is not None else ""

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


def read_tree(members: Members, findings: list[Problem]) -> Tree:
    """Return what the settings of a policy say; what is wrong with them goes to the problems of *members*."""
    reader = _Reader(members, findings)
    value = members.take(SETTINGS)
    for item in items(value) or ():
        instance = item.get(_INSTANCE, item) if isinstance(item, Mapping) else item
        reader.read(instance, "")
    reader.finish()
    return Tree(reader.members, reader.places, tuple(reader.unknown))


def write_tree(members: Mapping[str, Any], unknown: Iterable[UnknownSetting]) -> list[dict[str, Any]]:
    """Return the complete settings of a policy that say the same as *members* of a classic profile.

    Args:
        members: Of the profile, with ``catalog.screen_member`` of each screen that is hidden.
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

    def __init__(self, members: Members, findings: list[Problem]) -> None:
        self.members: dict[str, Any] = {}
        self.places: dict[str, str] = {}
        self.unknown: list[UnknownSetting] = []
        self._path = members.at(SETTINGS)
        self._problems = members.problems
        self._findings = findings
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
            self._findings.append(
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
            self._findings.append(warning(self._path, allowed, fix, ", ".join(missing)))
        sign_in = self._seen.get(catalog.SIGN_IN)
        if self.members.get(names.USER) and sign_in is None:
            self._say({names.WEB: True}, f"{self._path}.{catalog.AFFINITY}")
            allowed = f"{catalog.SIGN_IN}; it is not there, and was taken for modern authentication"
            self._findings.append(warning(self.places[names.WEB], allowed, "check it in Intune"))
        elif sign_in is not None and not self.members[names.WEB]:
            allowed = f"{catalog.SIGN_IN}_2: no other is known; it was taken for Setup Assistant (legacy)"
            self._findings.append(warning(self.places[names.WEB], allowed, "check it in Intune", sign_in))

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
            self._say({catalog.screen_member(kept.screen): kept.is_hidden}, where)
        self.unknown.append(kept)
        self._findings.append(warning(where, allowed, fix))

    def _wrong(self, where: str, allowed: str, value: str = "", fix: str = "") -> None:
        fix = fix or "see what it means in Intune, and correct it"
        self._problems.append(Problem(where, value, allowed, fix))


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
            is_hidden = bool(members.get(catalog.screen_member(kept.screen)))
            yield kept.showing(is_hidden=is_hidden)
        else:
            yield dict(kept.body)
