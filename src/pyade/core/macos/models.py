"""Chip class and product name of a Mac, from its model identifier.

The Mac itself reports the identifier, and an Intel virtual machine may report that of a real model.

Source: Apple, "Mac computers that have the Apple T2 Security Chip"; the model identifiers of Apple's
"Identify your Mac" pages.
"""

from __future__ import annotations

import enum
import re
from typing import Final

from pyade.core.arguments import check_arguments


class ChipClass(enum.StrEnum):
    """The security hardware of a Mac, which decides which keys it can hold."""

    APPLE_SILICON = "Apple silicon"
    T2 = "Intel with T2"
    T1 = "Intel with T1"
    INTEL = "Intel without a security chip"
    VIRTUAL = "virtual machine"
    UNKNOWN = "unknown model"


@check_arguments
def classify_product(product: str) -> ChipClass:
    """Return the chip class of a model identifier such as ``Mac14,2``.

    Args:
        product: ``PRODUCT`` of a MachineInfo, in Apple's spelling.

    Returns:
        ``UNKNOWN`` for everything that is no known family of Macs, and for a new model in an Intel family
        that has ended: which keys it can hold is unknown.
    """
    if product in _T1_MODELS:
        return ChipClass.T1
    if product in _T2_MODELS:
        return ChipClass.T2
    if product.startswith(("VirtualMac", "VMware", "Parallels")):
        return ChipClass.VIRTUAL
    model = _MODEL.fullmatch(product)
    if model is None:
        return ChipClass.UNKNOWN
    _, last_intel, first_silicon = _FAMILIES[model["family"]]
    generation = int(model["generation"])
    if first_silicon is not None and generation >= first_silicon:
        return ChipClass.APPLE_SILICON
    return ChipClass.INTEL if generation <= last_intel else ChipClass.UNKNOWN


@check_arguments
def name_of_product(product: str) -> str:
    """Return the name under which Apple sells a model identifier, such as "MacBook Air" for ``Mac14,2``.

    Args:
        product: As for ``classify_product``.

    Returns:
        "" if the identifier does not name the product, or belongs to no known Mac.
    """
    model = _MODEL.fullmatch(product)
    return "" if model is None else _NAMES.get(product, _FAMILIES[model["family"]][0])


@check_arguments
def name_in_text(text: str) -> str:
    """Return the name of a Mac with which *text* begins: "iMac Pro" for "iMac Pro (2017)"; "" for none.

    Args:
        text: ``model`` of Apple's device record.
    """
    words = " ".join(text.split()).casefold()
    # The longest first: "iMac Pro" also begins with "iMac".
    for name in sorted(
        {*_NAMES.values(), *(name for name, _, _ in _FAMILIES.values())}, key=len, reverse=True
    ):
        if name and re.match(rf"{name.casefold()}(?![a-z0-9])", words):
            return name
    return ""


_T1_MODELS: Final = frozenset({"MacBookPro13,2", "MacBookPro13,3", "MacBookPro14,2", "MacBookPro14,3"})
_T2_MODELS: Final = frozenset(
    {
        *("iMac20,1", "iMac20,2", "iMacPro1,1", "MacPro7,1", "Macmini8,1"),
        *("MacBookAir8,1", "MacBookAir8,2", "MacBookAir9,1"),
        *(f"MacBookPro{generation},{model}" for generation in (15, 16) for model in (1, 2, 3, 4)),
    }
)
# The name; the last generation on Intel without a T2, and the first on Apple silicon, None if the family
# ended before it. The old families get no new numbers: every newer Mac is called Mac<n>,<m>. ADP is the
# developer transition kit.
_FAMILIES: Final[dict[str, tuple[str, int, int | None]]] = {
    "ADP": ("", 0, 0),
    "Mac": ("", 0, 0),
    "MacBook": ("MacBook", 10, None),
    "MacBookAir": ("MacBook Air", 7, 10),
    "MacBookPro": ("MacBook Pro", 14, 17),
    "MacPro": ("Mac Pro", 6, None),
    "Macmini": ("Mac mini", 7, 9),
    "Xserve": ("Xserve", 3, None),
    "iMac": ("iMac", 19, 21),
    "iMacPro": ("iMac Pro", 0, None),
}
_MODEL: Final = re.compile(rf"(?P<family>{'|'.join(_FAMILIES)})(?P<generation>[0-9]{{1,4}}),[0-9]{{1,4}}")
# From 2022 on an identifier no longer names the product; one that is not listed may be any product.
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
