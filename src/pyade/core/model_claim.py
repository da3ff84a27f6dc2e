"""What a Mac says about its model, held against what Apple says about its serial number.

The model in a MachineInfo is a claim: whoever signs one can write any model into it, and with an old one
get an identity that is not bound to hardware. Apple's device record names the product in words, which is
enough to see that an iMac is no MacBook Air. It cannot tell an old MacBook Air from a new one.

Source: Apple, ``MachineInfo``, ``PRODUCT``; device assignment, ``Device``, ``model`` and ``device_family``;
the model identifiers of Apple's "Identify your Mac" pages.
"""

from __future__ import annotations

import re
from typing import Final

from pyade.core.device import Device
from pyade.core.identity import ChipClass, classify_product
from pyade.core.kinds import checks_kinds
from pyade.core.problems import Problem, Severity


@checks_kinds
def check_model_claim(product: str, device: Device) -> tuple[Problem, ...]:
    """Return where the claimed model contradicts Apple's record of the same serial number.

    No contradiction is no proof: a model that pyade does not know, or a record without a model, passes.

    Args:
        product: Model identifier that the Mac sent, such as ``Mac14,2``.
        device: Apple's record of the serial number that the Mac sent.

    Returns:
        Warnings, as Apple may sell a model under a name that pyade does not know; a caller who wants no
        downgrades refuses the Mac.
    """
    problems: list[Problem] = []
    fix = "ask who has this Mac before anything secret is released to it"
    if not device.is_mac:
        family = device.device_family or device.os
        problems.append(_warning(product, f"a device whose family is {family} in Apple's record", fix))
    elif classify_product(product) is ChipClass.VIRTUAL:
        named = device.model or "a Mac"
        problems.append(_warning(product, f"{named}, as in Apple's record, and no virtual machine", fix))
    claimed, recorded = _claimed_name(product), _recorded_name(device.model)
    if claimed and recorded and claimed != recorded:
        problems.append(_warning(product, f"{recorded}, as in Apple's record, not {claimed}", fix))
    return tuple(problems)


def _warning(product: str, allowed: str, fix: str) -> Problem:
    return Problem("product", product[:80], allowed, fix, Severity.WARNING)


def _claimed_name(product: str) -> str:
    """Return the marketing name of a model identifier; "" if it does not tell."""
    family = re.fullmatch("([A-Za-z]+)[0-9]{1,4},[0-9]{1,4}", product)
    return _NAMES.get(product, "") or _NAMES_OF_FAMILIES.get(family[1] if family else "", "")


def _recorded_name(model: str | None) -> str:
    """Return the name that Apple's text begins with, the longest that fits: "iMac Pro" is no "iMac"."""
    words = " ".join((model or "").split()).casefold()
    for name in sorted({*_NAMES_OF_FAMILIES.values(), *_NAMES.values()}, key=len, reverse=True):
        if re.match(rf"{name.casefold()}(?![a-z0-9])", words):
            return name
    return ""


_NAMES_OF_FAMILIES: Final = {
    "MacBook": "MacBook",
    "MacBookAir": "MacBook Air",
    "MacBookPro": "MacBook Pro",
    "MacPro": "Mac Pro",
    "Macmini": "Mac mini",
    "Xserve": "Xserve",
    "iMac": "iMac",
    "iMacPro": "iMac Pro",
}
# From 2022 on an identifier no longer names the product; those that are not listed may be any.
_NAMES: Final = {
    f"Mac{number}": name
    for name, numbers in {
        "MacBook Air": "14,2 14,15 15,12 15,13 16,12 16,13 17,3 17,4",
        "MacBook Pro": "14,5 14,6 14,7 14,9 14,10 15,3 15,6 15,7 15,8 15,9 15,10 15,11 "
        "16,1 16,5 16,6 16,7 16,8 17,2 17,6 17,7 17,8 17,9",
        "Mac Pro": "14,8",
        "Mac Studio": "13,1 13,2 14,13 14,14 15,14 16,9",
        "Mac mini": "14,3 14,12 16,10 16,11",
        "MacBook Neo": "17,5",
        "iMac": "15,4 15,5 16,2 16,3",
    }.items()
    for number in numbers.split()
}
