"""Which identity a Mac gets, for every class of chip and every version that matters."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade.core.macos.identity import (
    ACME_FROM,
    HARDWARE_KEYS_FROM,
    IdentityChoice,
    IdentityKind,
    IdentityPolicy,
    IdentityRefusal,
    KeyType,
    choose_identity,
    decide_identity,
)
from pyade.core.macos.models import ChipClass, classify_product
from pyade.core.macos.versions import MacOSVersion
from pyade.errors import PolicyError

LAST_INTEL = {
    "MacBook": 10,
    "MacBookAir": 9,
    "MacBookPro": 16,
    "MacPro": 7,
    "Macmini": 8,
    "Xserve": 3,
    "iMac": 20,
    "iMacPro": 1,
}
"""The last generation of each family that was sold with Intel."""


@given(
    family=st.sampled_from([*LAST_INTEL, "Mac"]),
    generation=st.integers(1, 40),
    model=st.integers(1, 20),
    version=st.sampled_from(["13.1", "14.0", "15.4", "27"]),
)
def test_a_model_that_is_not_known_never_gets_less_in_silence(
    family: str, generation: int, model: int, version: str
) -> None:
    """Only models that were sold as such are Intel or T2; whatever else gets less comes with a problem."""
    product = f"{family}{generation},{model}"
    chip = classify_product(product)
    choice = decided(version, chip)
    assert isinstance(choice, IdentityChoice)
    if chip is ChipClass.UNKNOWN:
        assert [problem.setting for problem in choice.problems] == ["product"]
    elif chip is not ChipClass.APPLE_SILICON:
        assert generation <= LAST_INTEL[family]


@each("chip", ChipClass)
@each("version", ["10.9", "10.15.7", "12.7", "13.0", "13.0.1"])
def test_every_mac_below_13_1_gets_scep(version: str, chip: ChipClass) -> None:
    """The specification: ACME is supported on devices running macOS 13.1 and later."""
    choice = choose_identity(version, chip, accepts_unattested=True)
    assert (choice.kind, choice.key_type, choice.key_size) == (IdentityKind.SCEP, KeyType.RSA, 2048)
    assert not choice.hardware_bound
    assert not choice.attest


@each("chip", [chip for chip in ChipClass if chip is not ChipClass.UNKNOWN])
@each("version", ["13.1", "13.4.1 (a)", "13.7"])
def test_13_1_to_13_x_gets_acme_with_a_software_key(version: str, chip: ChipClass) -> None:
    """Apple: HardwareBound and Attest must be false before macOS 14, whatever the chip."""
    choice = choose_identity(version, chip, accepts_unattested=True)
    assert (choice.kind, choice.hardware_bound, choice.attest) == (IdentityKind.ACME, False, False)


@each("version", ["14.0", "15.4", "26.1", "27"])
@each("accepts_unattested", [False, True])
def test_apple_silicon_from_14_gets_an_attested_hardware_key(version: str, accepts_unattested: bool) -> None:
    """The best that there is: P-384 in the Secure Enclave, attested by Apple."""
    choice = choose_identity(version, ChipClass.APPLE_SILICON, accepts_unattested=accepts_unattested)
    assert (choice.kind, choice.key_type, choice.key_size) == (IdentityKind.ACME, KeyType.EC, 384)
    assert choice.hardware_bound
    assert choice.attest


def test_a_t2_gets_a_hardware_key_only_where_the_server_takes_it_unattested() -> None:
    """A T2 ignores Attest, so a server that wants an attestation would refuse its hardware key."""
    bound = choose_identity("14", ChipClass.T2, accepts_unattested=True)
    assert (bound.kind, bound.key_type, bound.hardware_bound, bound.attest) == (
        IdentityKind.ACME,
        KeyType.EC,
        True,
        False,
    )
    software = choose_identity("14", ChipClass.T2)
    assert (software.kind, software.key_type, software.hardware_bound, software.attest) == (
        IdentityKind.ACME,
        KeyType.RSA,
        False,
        False,
    )


@each("chip", [ChipClass.T1, ChipClass.INTEL, ChipClass.VIRTUAL])
def test_chips_without_a_usable_enclave_get_a_software_key_from_14(chip: ChipClass) -> None:
    """Apple: HardwareBound must be false on them, and Attest, too."""
    choice = choose_identity("15.4", chip, accepts_unattested=True)
    assert (choice.kind, choice.hardware_bound, choice.attest) == (IdentityKind.ACME, False, False)


@each("version", ["13.1", "14", "26"])
def test_an_unknown_model_gets_scep_and_a_reason(version: str) -> None:
    """Nothing is known about its keys, and a wrong guess would keep it from enrolling."""
    choice = choose_identity(version, ChipClass.UNKNOWN)
    assert choice.kind is IdentityKind.SCEP
    assert "model" in choice.reason


@each("version", [None, "", "Sonoma", "14.x"])
def test_an_unreadable_version_gets_scep_and_a_reason(version: str | None) -> None:
    """SCEP works on every macOS."""
    choice = choose_identity(version, ChipClass.APPLE_SILICON)
    assert choice.kind is IdentityKind.SCEP
    assert "version" in choice.reason


def test_a_choice_reads_as_a_sentence() -> None:
    """For logs and for administrators."""
    attested = str(choose_identity(MacOSVersion.parse("14.1"), ChipClass.APPLE_SILICON))
    assert attested == (
        "ACME with attested hardware-bound key P-384: "
        "Apple silicon can attest a key of its Secure Enclave from macOS 14"
    )
    assert str(choose_identity("13.4", ChipClass.T2)).startswith(
        "ACME with software key RSA-2048: macOS 13.4"
    )
    assert str(choose_identity("13.0", ChipClass.T2)).startswith("SCEP: macOS 13.0 has no")


VERSIONS = (None, "10.13", "12.7", "13.0.1", "13.1", "13.7", "14.0", "15.4", "26.1", "27")
EVERY_MAC = list(itertools.product(VERSIONS, ChipClass))
EVERY_SET_OF_ISSUERS = list(itertools.product((False, True), repeat=3))


def decided(
    version: str | None,
    chip: ChipClass,
    *,
    acme: bool = True,
    scep: bool = True,
    accepts_unattested: bool = False,
    policy: IdentityPolicy | None = None,
) -> IdentityChoice | IdentityRefusal:
    return decide_identity(
        version, chip, acme=acme, scep=scep, accepts_unattested=accepts_unattested, policy=policy
    )


def allowed_by_apple(choice: IdentityChoice, version: str | None, chip: ChipClass) -> bool:
    """Apple's gates for an ACME payload, written from the schema's prose; SCEP has none."""
    if choice.kind is IdentityKind.SCEP:
        return not choice.hardware_bound and not choice.attest
    release = MacOSVersion.parse(version or "10.9")
    may_bind = release >= MacOSVersion(14) and chip in (ChipClass.APPLE_SILICON, ChipClass.T2)
    may_attest = release >= MacOSVersion(14) and chip is ChipClass.APPLE_SILICON
    sizes = {256, 384} if choice.hardware_bound else set(range(2048, 4097, 8))
    return (
        release >= MacOSVersion(13, 1)
        and (may_bind or not choice.hardware_bound)
        and (may_attest or not choice.attest)
        and (choice.hardware_bound or not choice.attest)
        and choice.key_type is (KeyType.EC if choice.hardware_bound else KeyType.RSA)
        and choice.key_size in sizes
    )


@each(("version", "chip"), EVERY_MAC)
def test_the_whole_table_is_valid_and_uses_only_what_is_configured(
    version: str | None, chip: ChipClass
) -> None:
    """Every macOS, chip and set of issuers: a choice that Apple allows, or a refusal where there is none."""
    for accepts_unattested, acme, scep in EVERY_SET_OF_ISSUERS:
        issuers = {kind for kind, there in ((IdentityKind.ACME, acme), (IdentityKind.SCEP, scep)) if there}
        can_acme = version is not None and MacOSVersion.parse(version) >= MacOSVersion(13, 1)
        decision = decided(version, chip, acme=acme, scep=scep, accepts_unattested=accepts_unattested)
        if isinstance(decision, IdentityRefusal):
            assert not scep
            assert not (acme and can_acme)
        else:
            assert decision.kind in issuers
            assert allowed_by_apple(decision, version, chip)
        best = choose_identity(version, chip, accepts_unattested=accepts_unattested)
        if best.kind in issuers:
            assert decision == best
        assert len(str(decision)) > 20


@each(("version", "chip"), EVERY_MAC)
def test_required_attestation_lets_only_attested_keys_through(version: str | None, chip: ChipClass) -> None:
    """It refuses instead of downgrading, an unknown model included."""
    for accepts_unattested, acme, scep in EVERY_SET_OF_ISSUERS:
        policy = IdentityPolicy(require_attestation=True)
        decision = decided(
            version, chip, acme=acme, scep=scep, accepts_unattested=accepts_unattested, policy=policy
        )
        can_attest = version in ("14.0", "15.4", "26.1", "27") and chip is ChipClass.APPLE_SILICON
        if can_attest and acme:
            assert isinstance(decision, IdentityChoice)
            assert decision.attest
        else:
            assert isinstance(decision, IdentityRefusal)
            assert "the policy requires an attested key" in decision.reason
            assert can_attest is ("no ACME issuer" in decision.reason)


@each(("version", "chip"), EVERY_MAC)
def test_scep_only_is_scep_or_nothing(version: str | None, chip: ChipClass) -> None:
    """Whatever the Mac could do."""
    for accepts_unattested, acme, scep in EVERY_SET_OF_ISSUERS:
        policy = IdentityPolicy(scep_only=True)
        decision = decided(
            version, chip, acme=acme, scep=scep, accepts_unattested=accepts_unattested, policy=policy
        )
        if scep:
            assert isinstance(decision, IdentityChoice)
            assert decision.kind is IdentityKind.SCEP
        else:
            assert isinstance(decision, IdentityRefusal)


@each(("version", "chip"), EVERY_MAC)
def test_acme_only_attested_is_acme_for_attested_keys_and_scep_for_the_others(
    version: str | None, chip: ChipClass
) -> None:
    """No ACME server that takes nothing unattested is asked for something else, whatever is configured."""
    for accepts_unattested, acme, scep in EVERY_SET_OF_ISSUERS:
        policy = IdentityPolicy(acme_only_attested=True)
        decision = decided(
            version, chip, acme=acme, scep=scep, accepts_unattested=accepts_unattested, policy=policy
        )
        can_attest = version in ("14.0", "15.4", "26.1", "27") and chip is ChipClass.APPLE_SILICON
        if can_attest and acme:
            assert isinstance(decision, IdentityChoice)
            assert (decision.kind, decision.attest) == (IdentityKind.ACME, True)
        elif scep:
            assert isinstance(decision, IdentityChoice)
            assert decision.kind is IdentityKind.SCEP
            assert ("no ACME issuer" in decision.reason) is can_attest
        else:
            assert isinstance(decision, IdentityRefusal)
            assert "issuer is configured" in decision.reason


def test_the_documentation_has_the_same_table() -> None:
    """Row by row: versions, chips, and what each policy makes of them."""
    page = (Path(__file__).parents[3] / "docs" / "certificates.md").read_text()
    table = page.partition("## Identity selection")[2].partition("If an issuer")[0].partition("\n\n")[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()[2:]]
    gate, hardware = str(ACME_FROM), str(HARDWARE_KEYS_FROM.major)
    all_chips = list(ChipClass)
    known: list[ChipClass] = [chip for chip in all_chips if chip is not ChipClass.UNKNOWN]
    macs: dict[str, tuple[list[str | None], list[ChipClass]]] = {
        f"macOS before {gate}, or not readable": (["10.9", "13.0.1", None], all_chips),
        f"from {gate}, unknown model": ([gate, "15.4"], [ChipClass.UNKNOWN]),
        f"{gate} to 13.x, any other": ([gate, "13.7.8"], known),
        f"{hardware} and later, Apple silicon": ([hardware, "27"], [ChipClass.APPLE_SILICON]),
        f"{hardware} and later, T2": ([hardware, "27"], [ChipClass.T2]),
        f"{hardware} and later, T1, none, virtual machine": (
            [hardware, "27"],
            [ChipClass.T1, ChipClass.INTEL, ChipClass.VIRTUAL],
        ),
    }

    def in_words(decision: IdentityChoice | IdentityRefusal) -> str:
        assert isinstance(decision, IdentityChoice)
        if decision.kind is IdentityKind.SCEP:
            return (
                "SCEP, with a problem" if "product" in {one.setting for one in decision.problems} else "SCEP"
            )
        if decision.attest:
            return f"ACME with an attested P-{decision.key_size} key in the Secure Enclave"
        return f"ACME with a {'hardware-bound' if decision.hardware_bound else 'software'} key"

    met = set()
    for mac, default, attested_only in rows:
        for version, chip in itertools.product(*macs[mac]):
            met.add((version, chip))
            if chip is ChipClass.T2 and "accepts_unattested" in default:
                words = [in_words(decided(version, chip, accepts_unattested=one)) for one in (True, False)]
                assert (
                    default
                    == f"{words[0]} if the issuer has `accepts_unattested=True`, else with a software key"
                )
                assert words[1] == "ACME with a software key"
            else:
                assert default == in_words(decided(version, chip))
            only = in_words(decided(version, chip, policy=IdentityPolicy(acme_only_attested=True)))
            assert attested_only == only or (attested_only, only) == ("the same", default)
    assert {chip for version, chip in met if version == hardware} == set(known)
    assert {chip for version, chip in met if version == gate} == set(ChipClass)


# Renewals

KEEPS_SCEP = "the Mac keeps SCEP, with which it enrolled"
KEEPS_ACME = "the Mac keeps ACME, with which it enrolled"
POLICIES = (
    IdentityPolicy(),
    IdentityPolicy(scep_only=True),
    IdentityPolicy(require_attestation=True),
    IdentityPolicy(acme_only_attested=True),
)


@each(("version", "chip"), EVERY_MAC)
@each("kind", IdentityKind)
def test_a_renewal_keeps_its_kind_or_says_why_not(
    version: str | None, chip: ChipClass, kind: IdentityKind
) -> None:
    """Never the other kind; what is kept is valid on the Mac, and only missing issuers are called missing."""
    for (accepts_unattested, acme, scep), policy in itertools.product(EVERY_SET_OF_ISSUERS, POLICIES):
        decision = decide_identity(
            version,
            chip,
            acme=acme,
            scep=scep,
            accepts_unattested=accepts_unattested,
            policy=policy,
            keep=kind,
        )
        is_there = acme if kind is IdentityKind.ACME else scep
        assert is_there is ("issuer is configured" not in decision.reason)
        if isinstance(decision, IdentityRefusal):
            continue
        assert is_there
        assert decision.kind is kind
        assert allowed_by_apple(decision, version, chip)
        assert decision.attest or not policy.require_attestation
        assert decision.attest or kind is IdentityKind.SCEP or not policy.acme_only_attested
        assert decision.reason.startswith(f"the Mac keeps {kind}, with which it enrolled")


@each(
    ("kind", "version", "chip", "policy", "reason"),
    [
        (
            "SCEP",
            "15.1",
            ChipClass.APPLE_SILICON,
            {},
            f"{KEEPS_SCEP}; if it enrolled again it would get ACME wi",
        ),
        ("SCEP", "12.6", ChipClass.T2, {}, KEEPS_SCEP),
        ("ACME", "15.1", ChipClass.APPLE_SILICON, {}, f"{KEEPS_ACME}: Apple silicon can attest"),
        ("ACME", "13.4", ChipClass.T2, {"scep_only": True}, f"{KEEPS_ACME}: macOS 13.4 knows ACME, but "),
        ("ACME", "15.1", ChipClass.UNKNOWN, {}, f"{KEEPS_ACME}; a software key works on every model (the mo"),
        ("ACME", "15.1", ChipClass.INTEL, {"acme_only_attested": True}, "the policy wants ACME for attested"),
        ("SCEP", "15.1", ChipClass.T1, {"require_attestation": True}, "the policy requires an attested key,"),
        ("ACME", "13.0", ChipClass.T2, {}, "ACME cannot be used: macOS 13.0 has no ACME"),
    ],
)
def test_a_renewal_says_what_is_kept_and_why(
    kind: str, version: str, chip: ChipClass, policy: dict[str, bool], reason: str
) -> None:
    """For the record, and for who asks why a new Mac has another identity."""
    decision = decide_identity(
        version, chip, acme=True, scep=True, policy=IdentityPolicy(**policy), keep=IdentityKind(kind)
    )
    assert decision.reason.startswith(reason)
    assert decision.reason.endswith("; scep_only is for Macs that enroll") is policy.get("scep_only", False)
    assert [problem.setting for problem in decision.problems] == (
        ["product"] if chip is ChipClass.UNKNOWN else []
    )


@each(
    ("version", "chip", "setting"),
    [
        ("15.4", ChipClass.UNKNOWN, "product"),
        ("15.4", ChipClass.APPLE_SILICON, None),
        (None, ChipClass.APPLE_SILICON, "version"),
        ("Sonoma", ChipClass.T2, "version"),
        ("13.0", ChipClass.UNKNOWN, None),
    ],
)
@each("policy", [IdentityPolicy(), IdentityPolicy(scep_only=True)])
@each("scep", [False, True])
def test_what_could_not_be_read_is_reported(
    version: str | None, chip: ChipClass, setting: str | None, policy: IdentityPolicy, scep: bool
) -> None:
    """Whatever the outcome, so that a new model is noticed."""
    problems = decided(version, chip, policy=policy, scep=scep).problems
    assert [problem.setting for problem in problems] == ([setting] if setting else [])
    assert all(problem.fix for problem in problems)


def test_with_acme_alone_an_unknown_model_gets_a_software_key() -> None:
    """Which every chip can make; nothing is bound that may not be."""
    decision = decided("15.4", ChipClass.UNKNOWN, scep=False, policy=IdentityPolicy(rsa_key_size=4096))
    assert isinstance(decision, IdentityChoice)
    assert (decision.kind, decision.hardware_bound, decision.key_size) == (IdentityKind.ACME, False, 4096)
    assert "no SCEP issuer" in decision.reason


def test_a_missing_acme_issuer_is_in_the_reason() -> None:
    """SCEP is valid on this Mac, but not the best choice."""
    decision = decided("15.4", ChipClass.APPLE_SILICON, acme=False)
    assert isinstance(decision, IdentityChoice)
    assert decision.kind is IdentityKind.SCEP
    assert decision.reason.startswith("no ACME issuer is configured")


def test_the_sizes_of_the_policy_go_to_the_keys_that_they_are_for() -> None:
    """A curve for hardware, RSA for software; SCEP has its own."""
    policy = IdentityPolicy(curve_size=256, rsa_key_size=3072)
    sizes = [
        decision.key_size
        for version, chip in (
            ("14", ChipClass.APPLE_SILICON),
            ("14", ChipClass.INTEL),
            ("13.4", ChipClass.APPLE_SILICON),
            ("13.0", ChipClass.APPLE_SILICON),
        )
        if isinstance(decision := decided(version, chip, policy=policy), IdentityChoice)
    ]
    assert sizes == [256, 3072, 3072, 2048]


@each(
    ("settings", "reason"),
    [
        ({"scep_only": True, "require_attestation": True}, "SCEP attests nothing"),
        ({"scep_only": True, "acme_only_attested": True}, "acme_only_attested and scep_only"),
        (
            {"require_attestation": True, "acme_only_attested": True},
            "acme_only_attested and require_attestation",
        ),
        ({"curve_size": 521}, "curve_size 521: 256 or 384"),
        ({"rsa_key_size": 1024}, "rsa_key_size 1024: a multiple of 8"),
        ({"rsa_key_size": 2049}, "rsa_key_size 2049: a multiple of 8"),
        ({"rsa_key_size": "2048"}, "rsa_key_size '2048': a multiple of 8"),
    ],
)
def test_a_policy_that_cannot_work_is_refused(settings: dict[str, int], reason: str) -> None:
    """When it is made, not with the request of the first Mac."""
    with pytest.raises(PolicyError, match=re.escape(reason)):
        IdentityPolicy(**settings)  # type: ignore[arg-type]
