"""Which identity a Mac gets: ACME or SCEP, which key, and why.

Two sources meet here. The specification says that ACME is for macOS 13.1 and later. Apple's schema adds that
keys bound to hardware and attestation need macOS 14 and the right chip. Both hold: ACME from 13.1, with a
software key wherever the schema forbids more.

Source: specification, "Certificates"; Apple, ``com.apple.security.acme``, keys ``HardwareBound`` and
``Attest`` and the note "ACME attestation hardware support".
"""

from __future__ import annotations

import enum
import re

import attrs

from pyade.core.versions import MacOSVersion
from pyade.errors import VersionError


class ChipClass(enum.StrEnum):
    """What decides which keys a Mac can hold."""

    APPLE_SILICON = "Apple silicon"
    T2 = "Intel with T2"
    T1 = "Intel with T1"
    INTEL = "Intel without a security chip"
    VIRTUAL = "virtual machine"
    UNKNOWN = "unknown model"


class IdentityKind(enum.StrEnum):
    """How a Mac gets its device certificate."""

    ACME = "ACME"
    SCEP = "SCEP"


class KeyType(enum.StrEnum):
    """Apple's names for the kinds of keys."""

    RSA = "RSA"
    EC = "ECSECPrimeRandom"


@attrs.frozen(kw_only=True)
class IdentityChoice:
    """The identity payload for one Mac.

    Attributes:
        kind: ACME or SCEP.
        key_type: RSA, or a NIST curve; of the ACME key, since SCEP knows only RSA.
        key_size: Bits, or the size of the curve, of the ACME key; a SCEP issuer has a size of its own.
        hardware_bound: True if the Secure Enclave makes the key and keeps it.
        attest: True if Apple attests key and device to the ACME server.
        reason: Why, in words.
    """

    kind: IdentityKind
    key_type: KeyType = KeyType.RSA
    key_size: int = 2048
    hardware_bound: bool = False
    attest: bool = False
    reason: str

    def __str__(self) -> str:
        if self.kind is IdentityKind.SCEP:
            return f"{self.kind}: {self.reason}"
        key = f"{'RSA' if self.key_type is KeyType.RSA else 'P'}-{self.key_size}"
        place = "hardware-bound" if self.hardware_bound else "software"
        attested = "attested " if self.attest else ""
        return f"{self.kind} with {attested}{place} key {key}: {self.reason}"


def classify_product(product: str) -> ChipClass:
    """Return the chip class of a model identifier such as ``Mac14,2``.

    The model is what a Mac says about itself. An Intel virtual machine may pass for a real model.

    Args:
        product: ``PRODUCT`` of a MachineInfo, in Apple's spelling.

    Returns:
        ``UNKNOWN`` for everything that is no known family of Macs.

    Source: Apple, "Mac computers that have the Apple T2 Security Chip"; the model identifiers of Apple's
    "Identify your Mac" pages.
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
    first_silicon = _FAMILIES[model["family"]]
    if first_silicon is not None and int(model["generation"]) >= first_silicon:
        return ChipClass.APPLE_SILICON
    return ChipClass.INTEL


def choose_identity(
    version: MacOSVersion | str | None, chip: ChipClass, *, accepts_unattested: bool = False
) -> IdentityChoice:
    """Return the best identity that this macOS version and chip can have.

    Args:
        version: Version of macOS; None where it could not be read from what the Mac sent.
        chip: From ``classify_product``.
        accepts_unattested: True if the ACME server issues certificates for hardware-bound keys without an
            attestation. A Mac with a T2 never sends one.

    Source: specification, "Certificates" (ACME from macOS 13.1); Apple, ``com.apple.security.acme``.
    """
    try:
        release = None if version is None else MacOSVersion.of(version)
    except VersionError:
        release = None
    if release is None:
        return IdentityChoice(kind=IdentityKind.SCEP, reason="the macOS version could not be read")
    if release < _ACME_FROM:
        return IdentityChoice(
            kind=IdentityKind.SCEP, reason=f"macOS {release} has no ACME, which came with 13.1"
        )
    if chip is ChipClass.UNKNOWN:
        return IdentityChoice(kind=IdentityKind.SCEP, reason="the model is unknown, and so are its keys")
    if release < _HARDWARE_FROM:
        reason = f"macOS {release} knows ACME, but hardware-bound keys only from 14"
        return IdentityChoice(kind=IdentityKind.ACME, reason=reason)
    return _acme_from_14(chip, accepts_unattested=accepts_unattested)


def _acme_from_14(chip: ChipClass, *, accepts_unattested: bool) -> IdentityChoice:
    if chip is ChipClass.APPLE_SILICON:
        return _hardware_key(
            "Apple silicon can attest a key of its Secure Enclave from macOS 14", attest=True
        )
    if chip is ChipClass.T2 and accepts_unattested:
        return _hardware_key("a T2 binds the key to hardware, but cannot attest it", attest=False)
    if chip is ChipClass.T2:
        reason = "a T2 cannot attest its key, and the ACME server wants an attestation of hardware-bound keys"
    else:
        reason = f"{chip}: no Secure Enclave that ACME can use"
    return IdentityChoice(kind=IdentityKind.ACME, reason=reason)


def _hardware_key(reason: str, *, attest: bool) -> IdentityChoice:
    return IdentityChoice(
        kind=IdentityKind.ACME,
        key_type=KeyType.EC,
        key_size=384,
        hardware_bound=True,
        attest=attest,
        reason=reason,
    )


_ACME_FROM = MacOSVersion.of("13.1")
_HARDWARE_FROM = MacOSVersion.of("14")

_T1_MODELS = frozenset({"MacBookPro13,2", "MacBookPro13,3", "MacBookPro14,2", "MacBookPro14,3"})
_T2_MODELS = frozenset(
    {
        *("iMac20,1", "iMac20,2", "iMacPro1,1", "MacPro7,1", "Macmini8,1"),
        *("MacBookAir8,1", "MacBookAir8,2", "MacBookAir9,1"),
        *(f"MacBookPro{generation},{model}" for generation in (15, 16) for model in (1, 2, 3, 4)),
    }
)
# The first generation on Apple silicon; None where a family ended before it. The numbers of the old families
# are closed: every newer Mac is called Mac<n>,<m>. ADP is the developer transition kit.
_FAMILIES: dict[str, int | None] = {
    "ADP": 0,
    "Mac": 0,
    "MacBook": None,
    "MacBookAir": 10,
    "MacBookPro": 17,
    "MacPro": None,
    "Macmini": 9,
    "Xserve": None,
    "iMac": 21,
    "iMacPro": None,
}
_MODEL = re.compile(rf"(?P<family>{'|'.join(_FAMILIES)})(?P<generation>[0-9]{{1,4}}),[0-9]{{1,4}}")
