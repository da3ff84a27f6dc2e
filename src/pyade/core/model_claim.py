"""What a Mac says about its model, held against what Apple says about its serial number.

The model in a MachineInfo is a claim: whoever signs one can write any model into it, and with an old one
get an identity that is not bound to hardware. Apple's device record names the product in words, which is
enough to see that an iMac is no MacBook Air. It cannot tell an old MacBook Air from a new one.

Source: Apple, ``MachineInfo``, ``PRODUCT``; device assignment, ``Device``, ``model`` and ``device_family``.
"""

from __future__ import annotations

from pyade.core.device import Device
from pyade.core.kinds import checks_kinds
from pyade.core.models import ChipClass, classify_product, name_in_text, name_of_product
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
    claimed, recorded = name_of_product(product), name_in_text(device.model or "")
    if claimed and recorded and claimed != recorded:
        problems.append(_warning(product, f"{recorded}, as in Apple's record, not {claimed}", fix))
    return tuple(problems)


def _warning(product: str, allowed: str, fix: str) -> Problem:
    return Problem("product", product[:80], allowed, fix, Severity.WARNING)
