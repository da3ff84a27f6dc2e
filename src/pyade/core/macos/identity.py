"""Choose the identity of a Mac: ACME or SCEP, which key, and why.

Two sources are combined here. The specification says that ACME is for macOS 13.1 and later. Apple's schema
adds that hardware-bound keys and attestation need macOS 14 and the right chip. Both are followed: ACME from
13.1, with a software key if the schema allows no other.

The rules of this file:

1. The versions from which a Mac supports ACME and hardware-bound keys are defined only here: plan, linter,
   builder, service and the simulated Mac read them.
2. If an unknown model or version gets less than a known one could, a problem says so.
3. The choice is made before the profile is built: a profile contains one identity, never a second one as a
   fallback.

Source: specification, "Certificates"; Apple, ``com.apple.security.acme``, keys ``HardwareBound`` and
``Attest`` and the note "ACME attestation hardware support".
"""

from __future__ import annotations

import enum
from typing import Final

import attrs

from pyade.core.arguments import check_arguments
from pyade.core.macos.models import ChipClass
from pyade.core.macos.versions import MacOSVersion
from pyade.core.problems import Problem, warning
from pyade.errors import PolicyError, VersionError
from pyade.text import Printed, short_repr

# Rule 1
ACME_FROM: Final = MacOSVersion.of("13.1")
"""The first macOS with ACME (specification, "Certificates")."""

HARDWARE_KEYS_FROM: Final = MacOSVersion.of("14")
"""The first macOS that binds an ACME key to hardware and attests it, where the chip can (Apple's schema)."""


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
        problems: What an administrator should check: a model that pyade does not know, an unreadable version.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    kind: IdentityKind
    key_type: KeyType = KeyType.RSA
    key_size: int = 2048
    hardware_bound: bool = False
    attest: bool = False
    reason: str
    problems: tuple[Problem, ...] = ()

    def _words(self) -> str:
        if self.kind is IdentityKind.SCEP:
            return f"{self.kind}: {self.reason}"
        key = f"{'RSA' if self.key_type is KeyType.RSA else 'P'}-{self.key_size}"
        place = "hardware-bound" if self.hardware_bound else "software"
        attested = "attested " if self.attest else ""
        return f"{self.kind} with {attested}{place} key {key}: {self.reason}"


@attrs.frozen(kw_only=True)
class IdentityRefusal(Printed):
    """No identity: the policy and the issuers allow none that this Mac could use.

    Attributes:
        reason: Why, in words.
        problems: As for ``IdentityChoice``.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    reason: str
    problems: tuple[Problem, ...] = ()

    def _words(self) -> str:
        return f"no identity: {self.reason}"


@check_arguments(but=("rsa_key_size",))
@attrs.frozen(kw_only=True)
class IdentityPolicy:
    """The organization's requirements for device certificates, within what each Mac supports.

    Attributes:
        scep_only: True if every Mac gets its certificate with SCEP, also if it supports ACME.
        require_attestation: True if only Macs may enroll whose key Apple attests: Apple silicon with macOS 14
            or later. All others are refused; none is downgraded.
        acme_only_attested: True if ACME is only for keys that Apple attests, and every other Mac gets SCEP:
            for ACME servers that refuse unattested keys, such as step-ca.
        curve_size: Size of the curve of hardware-bound ACME keys, 256 or 384.
        rsa_key_size: Bits of ACME software keys: a multiple of 8 from 2048 to 4096. A SCEP issuer has a size
            of its own.

    Raises:
        PolicyError: A size is not allowed, or two of the first three contradict each other.

    Source: Apple, ``com.apple.security.acme``, ``KeySize`` and ``HardwareBound``.
    """

    scep_only: bool = False
    require_attestation: bool = False
    acme_only_attested: bool = False
    curve_size: int = 384
    rsa_key_size: int = 2048

    def __attrs_post_init__(self) -> None:
        if self.scep_only and self.require_attestation:
            raise PolicyError("scep_only and require_attestation: SCEP attests nothing, choose one of them")
        if self.acme_only_attested and (self.scep_only or self.require_attestation):
            other = "scep_only" if self.scep_only else "require_attestation"
            raise PolicyError(
                f"acme_only_attested and {other}: one wants ACME for some Macs and SCEP for the others,"
                " the other wants one of them for all, choose one of them"
            )
        if self.curve_size not in (256, 384):
            raise PolicyError(
                f"curve_size {self.curve_size!r}: 256 or 384 is allowed for hardware-bound keys"
            )
        if type(self.rsa_key_size) is not int or self.rsa_key_size not in range(2048, 4097, 8):
            raise PolicyError(
                f"rsa_key_size {self.rsa_key_size!r}: a multiple of 8 from 2048 to 4096 is allowed"
            )


@check_arguments
def choose_identity(
    version: MacOSVersion | str | None, chip: ChipClass, *, accepts_unattested: bool = False
) -> IdentityChoice:
    """Return the best identity that this macOS version and chip can have.

    Args:
        version: Version of macOS; None if it could not be read from what the Mac sent.
        chip: From ``classify_product``.
        accepts_unattested: True if the ACME server issues certificates for hardware-bound keys without an
            attestation. A Mac with a T2 never sends one.

    Source: specification, "Certificates" (ACME from macOS 13.1); Apple, ``com.apple.security.acme``.
    """
    release = _read(version)
    if release is None:
        problem = warning(
            "version", version, "a version or build of macOS that pyade can read", "check what the Mac sent"
        )
        reason = "the macOS version could not be read"
        return IdentityChoice(kind=IdentityKind.SCEP, reason=reason, problems=(problem,))
    if release < ACME_FROM:
        return IdentityChoice(
            kind=IdentityKind.SCEP, reason=f"macOS {release} has no ACME, which came with {ACME_FROM}"
        )
    if chip is ChipClass.UNKNOWN:
        # Rule 2
        problem = warning("product", None, "a model of a Mac that pyade knows", "check it; update pyade")
        reason = "the model is unknown, and so are its keys"
        return IdentityChoice(kind=IdentityKind.SCEP, reason=reason, problems=(problem,))
    if release < HARDWARE_KEYS_FROM:
        reason = f"macOS {release} knows ACME, but hardware-bound keys only from {HARDWARE_KEYS_FROM.major}"
        return IdentityChoice(kind=IdentityKind.ACME, reason=reason)
    return _acme_from_14(chip, accepts_unattested=accepts_unattested)


@check_arguments
def decide_identity(
    version: MacOSVersion | str | None,
    chip: ChipClass,
    *,
    acme: bool,
    scep: bool,
    accepts_unattested: bool = False,
    policy: IdentityPolicy | None = None,
    keep: IdentityKind | None = None,
) -> IdentityChoice | IdentityRefusal:
    """Return the identity for a Mac from the configured issuers, or why there is none.

    Unless the policy forbids it, it is the choice of ``choose_identity``. If the issuer of that is not
    configured, the other one is used if its identity is valid on the Mac; the reason says so.

    Args:
        version: Version of macOS; None if it could not be read from what the Mac sent.
        chip: From ``classify_product``.
        acme: True if an ACME issuer is configured.
        scep: True if a SCEP issuer is configured.
        accepts_unattested: As for ``choose_identity``.
        policy: None for the default one.
        keep: For a renewal, the kind of identity with which the Mac enrolled: an enrolled Mac changes it
            only by enrolling again. None for an enrollment.

    Source: specification, "Certificates"; Apple, ``com.apple.security.acme``.
    """
    policy = policy or IdentityPolicy()
    best = choose_identity(version, chip, accepts_unattested=accepts_unattested)
    size = policy.curve_size if best.hardware_bound else policy.rsa_key_size
    best = attrs.evolve(best, key_size=size if best.kind is IdentityKind.ACME else best.key_size)
    issuers = frozenset(kind for kind in IdentityKind if (acme if kind is IdentityKind.ACME else scep))
    return (  # rule 3
        _for_enrollment(best, _read(version), issuers, policy)
        if keep is None
        else _for_renewal(keep, best, _read(version), issuers, policy)
    )


def _for_enrollment(
    best: IdentityChoice,
    release: MacOSVersion | None,
    issuers: frozenset[IdentityKind],
    policy: IdentityPolicy,
) -> IdentityChoice | IdentityRefusal:
    """Return the identity with which a Mac enrolls, from the configured *issuers*."""
    if policy.require_attestation and not (best.attest and IdentityKind.ACME in issuers):
        why = "no ACME issuer is configured" if best.attest else f"this Mac cannot have one: {best.reason}"
        return _refused(f"the policy requires an attested key, and {why}", best)
    if policy.scep_only:
        best = _scep("the policy wants SCEP for every Mac", best)
    elif policy.acme_only_attested and not best.attest:
        best = _scep(f"the policy wants ACME for attested keys alone ({best.reason})", best)
    if best.kind in issuers:
        return best
    if not issuers:
        return _refused("neither an ACME nor a SCEP issuer is configured", best)
    if best.kind is IdentityKind.ACME:
        return _scep(
            f"no ACME issuer is configured; without one, SCEP works on every Mac ({best.reason})", best
        )
    return _instead_of_scep(best, release, policy)


def _instead_of_scep(
    best: IdentityChoice, release: MacOSVersion | None, policy: IdentityPolicy
) -> IdentityChoice | IdentityRefusal:
    if policy.scep_only or policy.acme_only_attested:
        return _refused(f"no SCEP issuer is configured, and {best.reason}", best)
    if release is None or release < ACME_FROM:
        return _refused(f"no SCEP issuer is configured, and ACME cannot be used: {best.reason}", best)
    # Only an unknown model gets here, and a software key is allowed on every chip.
    reason = f"no SCEP issuer is configured, and a software key works on every model ({best.reason})"
    return _software(reason, best, policy)


def _for_renewal(
    kind: IdentityKind,
    best: IdentityChoice,
    release: MacOSVersion | None,
    issuers: frozenset[IdentityKind],
    policy: IdentityPolicy,
) -> IdentityChoice | IdentityRefusal:
    """Return the identity with which a Mac that enrolled with *kind* renews its certificate."""
    refusal = _why_not_renewed(kind, best, release, issuers, policy)
    if refusal:
        return _refused(refusal, best)
    why = f"the Mac keeps {kind}, with which it enrolled"
    if kind is IdentityKind.SCEP:
        wanted = _for_enrollment(best, release, issuers, policy)
        is_other = isinstance(wanted, IdentityChoice) and wanted.kind is not kind
        return _scep(f"{why}; if it enrolled again it would get {wanted}" if is_other else why, best)
    after = "; scep_only is for Macs that enroll" if policy.scep_only else ""
    if best.kind is not kind:
        reason = f"{why}; a software key works on every model ({best.reason}){after}"
        return _software(reason, best, policy)
    return attrs.evolve(best, reason=f"{why}: {best.reason}{after}")


def _why_not_renewed(
    kind: IdentityKind,
    best: IdentityChoice,
    release: MacOSVersion | None,
    issuers: frozenset[IdentityKind],
    policy: IdentityPolicy,
) -> str:
    """Return why a Mac cannot renew the certificate of its enrollment; "" if it can."""
    if kind not in issuers:
        return f"no {kind} issuer is configured"
    if policy.require_attestation and (kind is IdentityKind.SCEP or not best.attest):
        why = "SCEP attests none" if kind is IdentityKind.SCEP else f"this Mac cannot have one: {best.reason}"
        return f"the policy requires an attested key, and {why}"
    if kind is IdentityKind.ACME and (release is None or release < ACME_FROM):
        return f"ACME cannot be used: {best.reason}"
    if kind is IdentityKind.ACME and policy.acme_only_attested and not best.attest:
        return f"the policy wants ACME for attested keys alone ({best.reason})"
    return ""


def _refused(reason: str, best: IdentityChoice) -> IdentityRefusal:
    return IdentityRefusal(reason=reason, problems=best.problems)


def _scep(reason: str, best: IdentityChoice) -> IdentityChoice:
    return IdentityChoice(kind=IdentityKind.SCEP, reason=reason, problems=best.problems)


def _software(reason: str, best: IdentityChoice, policy: IdentityPolicy) -> IdentityChoice:
    return IdentityChoice(
        kind=IdentityKind.ACME, key_size=policy.rsa_key_size, reason=reason, problems=best.problems
    )


def _read(version: MacOSVersion | str | None) -> MacOSVersion | None:
    try:
        return None if version is None else MacOSVersion.of(version)
    except VersionError:
        return None


def _acme_from_14(chip: ChipClass, *, accepts_unattested: bool) -> IdentityChoice:
    if chip is ChipClass.APPLE_SILICON:
        return _hardware_key(
            f"Apple silicon can attest a key of its Secure Enclave from macOS {HARDWARE_KEYS_FROM.major}",
            attest=True,
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
