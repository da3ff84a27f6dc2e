"""Which identity a Mac gets, for every class of chip and every version that matters."""

from __future__ import annotations

import pytest

from pyade.core.identity import ChipClass, IdentityKind, KeyType, choose_identity, classify_product
from pyade.core.versions import MacOSVersion


@pytest.mark.parametrize(
    ("chip", "products"),
    [
        (ChipClass.T1, "MacBookPro13,2 MacBookPro13,3 MacBookPro14,2 MacBookPro14,3"),
        (
            ChipClass.T2,
            """iMac20,1 iMac20,2 iMacPro1,1 MacPro7,1 Macmini8,1 MacBookAir8,1 MacBookAir8,2 MacBookAir9,1
            MacBookPro15,1 MacBookPro15,2 MacBookPro15,3 MacBookPro15,4
            MacBookPro16,1 MacBookPro16,2 MacBookPro16,3 MacBookPro16,4""",
        ),
        (
            ChipClass.APPLE_SILICON,
            """Mac13,1 Mac14,2 Mac15,14 Mac16,13 Mac17,2 Mac21,1 MacBookAir10,1 MacBookPro17,1 MacBookPro18,4
            Macmini9,1 iMac21,1 iMac21,2 ADP3,2""",
        ),
        (ChipClass.VIRTUAL, "VirtualMac2,1 VMware7,1 VMware20,1 Parallels15,1 Parallels-ARM"),
        (
            ChipClass.INTEL,
            """iMac19,1 iMac19,2 MacBook10,1 MacBookAir7,2 MacBookPro13,1 MacBookPro14,1
            MacPro6,1 Macmini7,1 Xserve3,1""",
        ),
        (
            ChipClass.UNKNOWN,
            "iPhone15,2 Mac Mac14 Mac14,2x PowerMac3,6 mac14,2 14,2 RealityDevice14,1",
        ),
    ],
)
def test_a_product_is_classified_by_its_identifier(chip: ChipClass, products: str) -> None:
    """The exact sets of T1 and T2, the families that ended, and everything that is named Mac."""
    classified = {product: classify_product(product) for product in products.split()}
    assert classified == dict.fromkeys(products.split(), chip)


@pytest.mark.parametrize("product", ["", " ", "Mac14,2\n", " Mac14,2"])
def test_an_empty_or_padded_product_is_unknown(product: str) -> None:
    """A Mac spells its model exactly so, or it is no Mac that we know."""
    assert classify_product(product) is ChipClass.UNKNOWN


@pytest.mark.parametrize("chip", ChipClass)
@pytest.mark.parametrize("version", ["10.9", "10.15.7", "12.7", "13.0", "13.0.1"])
def test_every_mac_below_13_1_gets_scep(version: str, chip: ChipClass) -> None:
    """The specification: ACME is supported on devices running macOS 13.1 and later."""
    choice = choose_identity(version, chip, accepts_unattested=True)
    assert (choice.kind, choice.key_type, choice.key_size) == (IdentityKind.SCEP, KeyType.RSA, 2048)
    assert not choice.hardware_bound
    assert not choice.attest


@pytest.mark.parametrize("chip", [chip for chip in ChipClass if chip is not ChipClass.UNKNOWN])
@pytest.mark.parametrize("version", ["13.1", "13.4.1 (a)", "13.7"])
def test_13_1_to_13_x_gets_acme_with_a_software_key(version: str, chip: ChipClass) -> None:
    """Apple: HardwareBound and Attest must be false before macOS 14, whatever the chip."""
    choice = choose_identity(version, chip, accepts_unattested=True)
    assert (choice.kind, choice.hardware_bound, choice.attest) == (IdentityKind.ACME, False, False)


@pytest.mark.parametrize("version", ["14.0", "15.4", "26.1", "27"])
@pytest.mark.parametrize("accepts_unattested", [False, True])
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


@pytest.mark.parametrize("chip", [ChipClass.T1, ChipClass.INTEL, ChipClass.VIRTUAL])
def test_chips_without_a_usable_enclave_get_a_software_key_from_14(chip: ChipClass) -> None:
    """Apple: HardwareBound must be false on them, and Attest, too."""
    choice = choose_identity("15.4", chip, accepts_unattested=True)
    assert (choice.kind, choice.hardware_bound, choice.attest) == (IdentityKind.ACME, False, False)


@pytest.mark.parametrize("version", ["13.1", "14", "26"])
def test_an_unknown_model_gets_scep_and_a_reason(version: str) -> None:
    """Nothing is known about its keys, and a wrong guess would keep it from enrolling."""
    choice = choose_identity(version, ChipClass.UNKNOWN)
    assert choice.kind is IdentityKind.SCEP
    assert "model" in choice.reason


@pytest.mark.parametrize("version", [None, "", "Sonoma", "14.x"])
def test_an_unreadable_version_gets_scep_and_a_reason(version: str | None) -> None:
    """SCEP works on every macOS."""
    choice = choose_identity(version, ChipClass.APPLE_SILICON)
    assert choice.kind is IdentityKind.SCEP
    assert "version" in choice.reason


def test_a_choice_reads_as_a_sentence() -> None:
    """For logs and for the person who asks why."""
    attested = str(choose_identity(MacOSVersion.parse("14.1"), ChipClass.APPLE_SILICON))
    assert attested == (
        "ACME with attested hardware-bound key P-384: "
        "Apple silicon can attest a key of its Secure Enclave from macOS 14"
    )
    assert str(choose_identity("13.4", ChipClass.T2)).startswith(
        "ACME with software key RSA-2048: macOS 13.4"
    )
    assert str(choose_identity("13.0", ChipClass.T2)).startswith("SCEP: macOS 13.0 has no")
