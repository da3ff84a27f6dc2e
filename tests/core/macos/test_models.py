"""What follows from a model identifier, and where it contradicts Apple's record."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade.core.fleet.device import Device, DeviceFamily
from pyade.core.macos.models import ChipClass, classify_product
from pyade.enrollment.machine_info import check_model_claim


@each(
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
            """Mac13,1 Mac14,2 Mac15,14 Mac16,13 Mac17,2 Mac17,3 Mac17,4 Mac17,6 Mac17,7 Mac17,8 Mac17,9
            Mac21,1 MacBookAir10,1 MacBookPro17,1 MacBookPro18,4
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
            """iPhone15,2 Mac Mac14 Mac14,2x PowerMac3,6 mac14,2 14,2 RealityDevice14,1
            MacBookPro15,5 MacBookPro16,5 Macmini8,2 MacBookAir9,2 iMac20,3 iMacPro1,2 iMacPro2,1 MacPro7,2
            MacPro8,1 MacBook11,1 Xserve4,1""",
        ),
    ],
)
def test_a_product_is_classified_by_its_identifier(chip: ChipClass, products: str) -> None:
    """The exact sets of T1 and T2, the families that ended, and everything that is named Mac."""
    classified = {product: classify_product(product) for product in products.split()}
    assert classified == dict.fromkeys(products.split(), chip)


@each("product", ["", " ", "Mac14,2\n", " Mac14,2"])
def test_an_empty_or_padded_product_is_unknown(product: str) -> None:
    """A Mac spells its model exactly so, or it is no Mac that we know."""
    assert classify_product(product) is ChipClass.UNKNOWN


@given(
    product=st.text(max_size=30),
    model=st.none() | st.text(max_size=30),
    family=st.none() | st.sampled_from(DeviceFamily) | st.text(max_size=9).map(DeviceFamily),
)
def test_any_model_claim_yields_only_problems_of_the_product(
    product: str, model: str | None, family: DeviceFamily | None
) -> None:
    """The product is untrusted input."""
    record = Device(serial_number="C02ABC123", model=model, device_family=family)
    assert all(problem.setting == "product" for problem in check_model_claim(product, record))


@each(
    ("product", "model"),
    [
        ("Mac14,2", "MacBook Air"),
        ("Mac14,2", "MacBook Air (13-inch, M2, 2022)"),
        ("MacBookAir7,2", "MacBook Air"),
        ("iMacPro1,1", "iMac Pro"),
        ("iMac19,1", "iMac"),
        ("Macmini8,1", "mac  mini"),
        ("Mac17,5", "MacBook Neo"),
        ("Mac17,3", "MacBook Air"),
        *((f"Mac17,{number}", "MacBook Pro") for number in (6, 7, 8, 9)),
        ("Mac99,1", "MacBook Air"),
        ("Toaster1,1", "MacBook Air"),
        ("Mac14,2", None),
        ("Mac14,2", "Macintosh"),
    ],
)
def test_a_claim_that_fits_or_cannot_be_judged_passes(product: str, model: str | None) -> None:
    """New models must enroll before pyade knows them."""
    record = Device(serial_number="C02ABC123", model=model, device_family=DeviceFamily.MAC)
    assert check_model_claim(product, record) == ()


@each(
    ("product", "model", "allowed"),
    [
        ("iMac19,1", "MacBook Air", "MacBook Air, as in Apple's record, not iMac"),
        ("Mac14,2", "Mac mini", "Mac mini, as in Apple's record, not MacBook Air"),
        ("Mac17,4", "MacBook Pro", "MacBook Pro, as in Apple's record, not MacBook Air"),
        ("Mac17,9", "MacBook Air", "MacBook Air, as in Apple's record, not MacBook Pro"),
        ("iMacPro1,1", "iMac", "iMac, as in Apple's record, not iMac Pro"),
        ("MacBookPro14,1", "Mac Studio", "Mac Studio, as in Apple's record, not MacBook Pro"),
        ("MacBook10,1", "MacBook Neo", "MacBook Neo, as in Apple's record, not MacBook"),
        ("VirtualMac2,1", "MacBook Pro", "MacBook Pro, as in Apple's record, and no virtual machine"),
    ],
)
def test_a_claim_that_contradicts_apple_is_reported(product: str, model: str, allowed: str) -> None:
    """With an old model in the claim an unknown sender would ask for an identity without hardware."""
    record = Device(serial_number="C02ABC123", model=model, device_family=DeviceFamily.MAC)
    [problem] = check_model_claim(product, record)
    assert (problem.value, problem.allowed) == (product, allowed)


def test_a_mac_with_the_serial_number_of_an_ipad_is_reported() -> None:
    """Apple's record of that serial number is of something else."""
    record = Device(serial_number="DMP", model="iPad Air", device_family=DeviceFamily.IPAD)
    [problem] = check_model_claim("Mac14,2", record)
    assert "family is iPad" in problem.allowed
