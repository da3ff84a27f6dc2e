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

from pyade.core.kinds import checks_kinds
from pyade.core.problems import Problem, Severity
from pyade.core.versions import MacOSVersion
from pyade.errors import PolicyError, VersionError
from pyade.text import Printed


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
class IdentityChoice(Printed):
    """The identity payload for one Mac.

    Attributes:
        kind: ACME or SCEP.
        key_type: RSA, or a NIST curve; of the ACME key, since SCEP knows only RSA.
        key_size: Bits, or the size of the curve, of the ACME key; a SCEP issuer has a size of its own.
        hardware_bound: True if the Secure Enclave makes the key and keeps it.
        attest: True if Apple attests key and device to the ACME server.
        reason: Why, in words.
        findings: What somebody should look at: a model that pyade does not know, an unreadable version.
    """

    kind: IdentityKind
    key_type: KeyType = KeyType.RSA
    key_size: int = 2048
    hardware_bound: bool = False
    attest: bool = False
    reason: str
    findings: tuple[Problem, ...] = ()

    def _words(self) -> str:
        if self.kind is IdentityKind.SCEP:
            return f"{self.kind}: {self.reason}"
        key = f"{'RSA' if self.key_type is KeyType.RSA else 'P'}-{self.key_size}"
        place = "hardware-bound" if self.hardware_bound else "software"
        attested = "attested " if self.attest else ""
        return f"{self.kind} with {attested}{place} key {key}: {self.reason}"


@attrs.frozen(kw_only=True)
class IdentityRefusal(Printed):
    """No identity: the policy and the issuers leave none that this Mac could use.

    Attributes:
        reason: Why, in words.
        findings: As for ``IdentityChoice``.
    """

    reason: str
    findings: tuple[Problem, ...] = ()

    def _words(self) -> str:
        return f"no identity: {self.reason}"


@checks_kinds(but=("rsa_key_size",))
@attrs.frozen(kw_only=True)
class IdentityPolicy:
    """What an organization wants of device certificates, within what each Mac can hold.

    Attributes:
        scep_only: True if every Mac gets its certificate with SCEP, whatever it could do.
        require_attestation: True if only Macs may enroll whose key Apple attests: Apple silicon with macOS 14
            or later. All others are refused; none is downgraded.
        curve_size: Size of the curve of hardware-bound ACME keys, 256 or 384.
        rsa_key_size: Bits of ACME software keys: a multiple of 8 from 2048 to 4096. A SCEP issuer has a size
            of its own.

    Raises:
        PolicyError: A size is not allowed, or attestation is required over SCEP, which has none.

    Source: Apple, ``com.apple.security.acme``, ``KeySize`` and ``HardwareBound``.
    """

    scep_only: bool = False
    require_attestation: bool = False
    curve_size: int = 384
    rsa_key_size: int = 2048

    def __attrs_post_init__(self) -> None:
        if self.scep_only and self.require_attestation:
            raise PolicyError("scep_only and require_attestation: SCEP attests nothing, choose one of them")
        if self.curve_size not in (256, 384):
            raise PolicyError(
                f"curve_size {self.curve_size!r}: 256 or 384 is allowed for hardware-bound keys"
            )
        if type(self.rsa_key_size) is not int or self.rsa_key_size not in range(2048, 4097, 8):
            raise PolicyError(
                f"rsa_key_size {self.rsa_key_size!r}: a multiple of 8 from 2048 to 4096 is allowed"
            )


@checks_kinds
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


@checks_kinds
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
    release = _read(version)
    if release is None:
        finding = _finding(
            "version", version, "a version or build of macOS that pyade can read", "check what the Mac sent"
        )
        reason = "the macOS version could not be read"
        return IdentityChoice(kind=IdentityKind.SCEP, reason=reason, findings=(finding,))
    if release < _ACME_FROM:
        return IdentityChoice(
            kind=IdentityKind.SCEP, reason=f"macOS {release} has no ACME, which came with 13.1"
        )
    if chip is ChipClass.UNKNOWN:
        finding = _finding("product", None, "a model of a Mac that pyade knows", "look at it; update pyade")
        reason = "the model is unknown, and so are its keys"
        return IdentityChoice(kind=IdentityKind.SCEP, reason=reason, findings=(finding,))
    if release < _HARDWARE_FROM:
        reason = f"macOS {release} knows ACME, but hardware-bound keys only from 14"
        return IdentityChoice(kind=IdentityKind.ACME, reason=reason)
    return _acme_from_14(chip, accepts_unattested=accepts_unattested)


@checks_kinds
def decide_identity(
    version: MacOSVersion | str | None,
    chip: ChipClass,
    *,
    acme: bool,
    scep: bool,
    accepts_unattested: bool = False,
    policy: IdentityPolicy | None = None,
) -> IdentityChoice | IdentityRefusal:
    """Return the identity for a Mac from the issuers that there are, or why there is none.

    Without a policy in the way it is what ``choose_identity`` says. Where its issuer is not configured the
    other one is used if its identity is valid on the Mac; the reason says so. The choice is made before the
    profile is: a profile holds one identity, never a second one to fall back on.

    Args:
        version: Version of macOS; None where it could not be read from what the Mac sent.
        chip: From ``classify_product``.
        acme: True if an ACME issuer is configured.
        scep: True if a SCEP issuer is configured.
        accepts_unattested: As for ``choose_identity``.
        policy: None for the default one.

    Source: specification, "Certificates"; Apple, ``com.apple.security.acme``.
    """
    policy = policy or IdentityPolicy()
    best = choose_identity(version, chip, accepts_unattested=accepts_unattested)
    size = policy.curve_size if best.hardware_bound else policy.rsa_key_size
    best = attrs.evolve(best, key_size=size if best.kind is IdentityKind.ACME else best.key_size)
    if policy.require_attestation and not best.attest:
        reason = f"the policy requires an attested key, and this Mac cannot have one: {best.reason}"
        return IdentityRefusal(reason=reason, findings=best.findings)
    if policy.require_attestation:
        reason = "the policy requires an attested key, and no ACME issuer is configured"
        return best if acme else IdentityRefusal(reason=reason)
    if policy.scep_only:
        if not scep:
            reason = "the policy wants SCEP, and no SCEP issuer is configured"
            return IdentityRefusal(reason=reason, findings=best.findings)
        return IdentityChoice(
            kind=IdentityKind.SCEP, reason="the policy wants SCEP for every Mac", findings=best.findings
        )
    if acme if best.kind is IdentityKind.ACME else scep:
        return best
    return _second_best(best, version, acme=acme, scep=scep, policy=policy)


def _second_best(
    best: IdentityChoice,
    version: MacOSVersion | str | None,
    *,
    acme: bool,
    scep: bool,
    policy: IdentityPolicy,
) -> IdentityChoice | IdentityRefusal:
    """Return what the other issuer can give, or why it cannot."""
    if not acme and not scep:
        return IdentityRefusal(
            reason="neither an ACME nor a SCEP issuer is configured", findings=best.findings
        )
    if scep:
        reason = f"no ACME issuer is configured; without one, SCEP works on every Mac ({best.reason})"
        return IdentityChoice(kind=IdentityKind.SCEP, reason=reason, findings=best.findings)
    release = _read(version)
    if release is None or release < _ACME_FROM:
        reason = f"no SCEP issuer is configured, and ACME cannot be used: {best.reason}"
        return IdentityRefusal(reason=reason, findings=best.findings)
    # Only an unknown model comes here, and a software key is allowed on every chip.
    reason = f"no SCEP issuer is configured, and a software key works on every model ({best.reason})"
    return IdentityChoice(
        kind=IdentityKind.ACME, key_size=policy.rsa_key_size, reason=reason, findings=best.findings
    )


def _read(version: MacOSVersion | str | None) -> MacOSVersion | None:
    try:
        return None if version is None else MacOSVersion.of(version)
    except VersionError:
        return None


def _finding(setting: str, value: object, allowed: str, fix: str) -> Problem:
    return Problem(setting, "" if value is None else str(value)[:80], allowed, fix, Severity.WARNING)


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
