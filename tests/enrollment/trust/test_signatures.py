"""Machines whose policy forbids SHA-1 get an error when the trust is created, and on each later use.

No such machine is at hand, so the digest is replaced by one that cryptography does not have: it raises the
same error.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from tests.enrollment.trust.conftest import World
from tests.keys import RSA_KEYS

from pyade import AcmeIssuer
from pyade.crypto import signatures
from pyade.enrollment import AsyncEnrollmentService, DeviceTrust, EnrollmentService, device_trust
from pyade.enrollment.machine_info import MachineInfo
from pyade.errors import CryptoPolicyError, PolicyError
from pyade.storage import MemoryStore
from pyade.testing import CmsForm, DeviceAuthority
from pyade.testing.mac import cms


class Forbidden(hashes.HashAlgorithm):
    """A digest that does not exist."""

    name = "forbidden"
    digest_size = 20
    block_size = 64


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def exchanged(digest: hashes.HashAlgorithm | None) -> hashes.HashAlgorithm | None:
        return Forbidden() if isinstance(digest, hashes.SHA1) else digest

    signatures.check_sha1.cache_clear()
    monkeypatch.setattr(signatures, "SHA1", Forbidden())
    for number, digest in device_trust._DIGESTS.items():
        monkeypatch.setitem(device_trust._DIGESTS, number, exchanged(digest) or digest)
    for number, (kind, named) in device_trust._SIGNATURES.items():
        monkeypatch.setitem(device_trust._SIGNATURES, number, (kind, exchanged(named)))
    yield
    signatures.check_sha1.cache_clear()


def test_cryptography_raises_the_simulated_error(forbidden: None) -> None:
    with pytest.raises(UnsupportedAlgorithm):
        hashes.Hash(signatures.SHA1)
    with pytest.raises(UnsupportedAlgorithm):
        RSA_KEYS[0].public_key().verify(b"", b"", padding.PKCS1v15(), signatures.SHA1)


@pytest.mark.parametrize("service", [EnrollmentService, AsyncEnrollmentService])
def test_creating_the_trust_raises_the_error(
    service: type[EnrollmentService], world: World, forbidden: None
) -> None:
    from tests.enrollment.conftest import MDM

    with pytest.raises(CryptoPolicyError, match=r"SHA-1 is refused.*PyPI.*update-crypto-policies") as made:
        DeviceTrust([world.ca.certificate])
    assert "SHA-1" in made.value.algorithm
    assert isinstance(made.value.__cause__, UnsupportedAlgorithm)
    with pytest.raises(CryptoPolicyError):
        DeviceTrust.apple()
    with pytest.raises(CryptoPolicyError):
        MachineInfo.from_cms(world.plain.write())
    with pytest.raises(CryptoPolicyError):
        service(MemoryStore(), mdm=MDM, acme=AcmeIssuer(directory_url="https://ca.contoso.com/acme"))


def test_later_use_raises_the_same_error(world: World, trust: DeviceTrust, forbidden: None) -> None:
    for message in (world.plain.write(), world.attributed.write()):
        with pytest.raises(CryptoPolicyError):
            trust.verify(message)
    leaf = world.pki.issue(
        world.ca, digest="sha256"
    )  # its certificate is valid, its signature algorithm is not
    for options in ([], ["-noattr"]):
        with pytest.raises(CryptoPolicyError):
            trust.verify(world.sign(leaf, *options))


def test_fake_mac_raises_the_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    authority = DeviceAuthority.generate()
    mac = authority.issue()
    monkeypatch.setitem(cms.DIGESTS, "sha1", Forbidden())
    for make in (DeviceAuthority.generate, authority.issue, lambda: mac.sign(b"words")):
        with pytest.raises(CryptoPolicyError, match="SHA1"):
            make()
    assert authority.issue(digest="sha256").sign(b"words", form=CmsForm.MODERN)


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (datetime(2026, 1, 1), "a time without a time zone"),  # noqa: DTZ001 - the invalid value under test
        (datetime.min.replace(tzinfo=UTC), "0001-01-01"),
        (datetime.max.replace(tzinfo=UTC), "9999-12-31"),
        ("2026-01-01", "str"),
        (None, "NoneType"),
    ],
)
def test_clock_that_returns_no_time_is_named(now: object, words: str, world: World) -> None:
    with pytest.raises(PolicyError, match=f"leaf_clock returned {words}"):
        DeviceTrust([world.ca.certificate], leaf_clock=lambda: now)  # type: ignore[arg-type,return-value]
    times = [datetime(2026, 1, 1, tzinfo=UTC), now]
    trust = DeviceTrust([world.ca.certificate], leaf_clock=lambda: times.pop(0))  # type: ignore[arg-type,return-value]
    with pytest.raises(PolicyError, match=f"leaf_clock returned {words}"):
        trust.verify(world.plain.write())
