"""MachineInfo, read strictly."""

from __future__ import annotations

import base64
import plistlib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade.core import ChipClass, MacOSVersion, plist
from pyade.core.input_limits import MAX_BYTES
from pyade.core.plist import MAX_DEPTH
from pyade.enrollment import MachineInfo
from pyade.errors import TrustError
from pyade.testing import CmsForm, DeviceAuthority, DeviceIdentity

REQUIRED = {
    "UDID": "564D0E0B-1A2B-3C4D-5E6F-708192A3B4C5",
    "SERIAL": "C02ABCDEFGHJ",
    "PRODUCT": "Mac14,2",
    "VERSION": "23B74",
}
HEAD = b'<?xml version="1.0" encoding="UTF-8"?>\n'
DOCTYPE = b'<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">\n'


def xml(**changes: Any) -> bytes:
    """Return a MachineInfo; a change of None takes the key out."""
    document = {key: value for key, value in {**REQUIRED, **changes}.items() if value is not None}
    return plistlib.dumps(document)


def wrapped(body: bytes) -> bytes:
    return HEAD + DOCTYPE + b'<plist version="1.0">' + body + b"</plist>\n"


def _dumped(words: dict[str, Any]) -> bytes:
    try:
        return plistlib.dumps(words, sort_keys=False)
    except ValueError:  # plistlib writes no control characters
        return plistlib.dumps({})


PLAIN = st.text("abZ09 .,-_/:;()'\"", max_size=12)


def refused(data: bytes) -> TrustError:
    with pytest.raises(TrustError) as caught:
        MachineInfo.from_plist(data)
    assert caught.value.is_malformed
    assert caught.value.__cause__ is None
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200
    return caught.value


@pytest.fixture(scope="module")
def authority() -> DeviceAuthority:
    return DeviceAuthority.generate()


@pytest.fixture(scope="module")
def identity(authority: DeviceAuthority) -> DeviceIdentity:
    return authority.issue(now=datetime(2026, 1, 1, tzinfo=UTC))


class TestPlist:
    def test_machine_info_of_a_mac_before_macos_14(self) -> None:
        info = MachineInfo.from_plist(xml(VERSION="22A380", LANGUAGE="en", IMEI="", MEID=""))
        assert info == MachineInfo(
            udid=REQUIRED["UDID"],
            serial_number="C02ABCDEFGHJ",
            product="Mac14,2",
            build="22A380",
            language="en",
            extra={"IMEI": "", "MEID": ""},
        )
        assert info.os_version is None
        assert not info.can_request_software_update
        assert info.signature is None

    def test_every_key_is_read(self) -> None:
        info = MachineInfo.from_plist(
            xml(
                OS_VERSION="26.1",
                SUPPLEMENTAL_BUILD_VERSION="25B78a",
                SUPPLEMENTAL_OS_VERSION_EXTRA="(a)",
                LANGUAGE="fr",
                MDM_CAN_REQUEST_SOFTWARE_UPDATE=True,
                SOFTWARE_UPDATE_DEVICE_ID="J413AP",
                MDM_CAN_REQUEST_PSSO_CONFIG=True,
                MANDATORY_SOFTWARE_UPDATE_REQUIRED=True,
            )
        )
        assert info.os_version == "26.1"
        assert info.supplemental_build == "25B78a"
        assert info.supplemental_version_extra == "(a)"
        assert info.language == "fr"
        assert info.can_request_software_update
        assert info.software_update_device_id == "J413AP"
        assert info.can_request_psso_config
        assert info.mandatory_software_update_required
        assert info.extra == {}

    def test_unknown_keys_are_kept(self) -> None:
        extra = {
            "NEW_IN_27": {"nested": [1, True, b"data", 2.5, datetime(2026, 1, 1)]},  # noqa: DTZ001 - as plistlib has it
            "PAIRING_TOKEN": b"\1\2",
        }
        info = MachineInfo.from_plist(xml(**extra))
        assert info.extra == extra
        assert hash(info) == hash(MachineInfo.from_plist(xml(**extra)))

    def test_serials_are_kept_as_given(self) -> None:
        assert MachineInfo.from_plist(xml(SERIAL=" c02 ")).serial_number == " c02 "

    def test_utf_8_without_declaration_and_doctype(self) -> None:
        body = b"".join(
            f"<key>{key}</key><string>{value}</string>".encode() for key, value in REQUIRED.items()
        )
        expected = MachineInfo.from_plist(xml())
        assert MachineInfo.from_plist(b"<plist><dict>" + body + b"</dict></plist>") == expected
        declared = b'<?xml version="1.0" encoding="utf-8"?><plist><dict>' + body + b"</dict></plist>"
        assert MachineInfo.from_plist(declared) == expected

    @each("key", ["UDID", "SERIAL", "PRODUCT", "VERSION"])
    def test_required_keys(self, key: str) -> None:
        assert f"{key} is missing" in refused(xml(**{key: None})).reason
        assert f"{key} is empty" in refused(xml(**{key: ""})).reason
        assert f"{key} is empty" in refused(xml(**{key: " \n"})).reason

    @each("key", ["SERIAL", "PRODUCT", "VERSION", "OS_VERSION", "LANGUAGE"])
    def test_text_longer_than_its_limit_is_refused(self, key: str) -> None:
        assert f"{key} has 256 characters" in refused(xml(**{key: "x" * 256})).reason
        MachineInfo.from_plist(xml(**{key: "x" * 255}))

    @each(
        ("key", "value", "needed"),
        [
            ("UDID", 1, "str"),
            ("SERIAL", b"C02ABCDEFGHJ", "str"),
            ("SERIAL", ["C02ABCDEFGHJ"], "str"),
            ("PRODUCT", True, "str"),
            ("VERSION", 22.5, "str"),
            ("OS_VERSION", 14, "str"),
            ("SUPPLEMENTAL_BUILD_VERSION", {}, "str"),
            ("SUPPLEMENTAL_OS_VERSION_EXTRA", [], "str"),
            ("LANGUAGE", False, "str"),
            ("SOFTWARE_UPDATE_DEVICE_ID", b"", "str"),
            ("IMEI", 0, "str"),
            ("MEID", 0, "str"),
            ("PAIRING_TOKEN", "token", "bytes"),
            ("MDM_CAN_REQUEST_SOFTWARE_UPDATE", 1, "bool"),
            ("MDM_CAN_REQUEST_SOFTWARE_UPDATE", "true", "bool"),
            ("MDM_CAN_REQUEST_PSSO_CONFIG", 0, "bool"),
            ("MANDATORY_SOFTWARE_UPDATE_REQUIRED", "", "bool"),
        ],
    )
    def test_wrong_types(self, key: str, value: Any, needed: str) -> None:
        assert f"{key} is {type(value).__name__}, {needed} is needed" in refused(xml(**{key: value})).reason

    @each(
        ("data", "reason"),
        [
            (b"", "is empty"),
            (b" " * (MAX_BYTES + 1), "65537 bytes"),
            (b"not a plist", "cannot be read"),
            (b"<html><body>no</body></html>", "no property list"),
            (b"<dict/>", "no property list"),
            (b"<plist><plist><dict/></plist></plist>", "no property list"),
            (b"<plist><dict><key>a</key><set/></dict></plist>", "no property list"),
            (b"<plist/>", "no dictionary"),
            (wrapped(b"<array><string>a</string></array>"), "no dictionary"),
            (wrapped(b"<string>a</string>"), "no dictionary"),
            (wrapped(b"<dict><key>a</key></dict>"), "cannot be read"),
            (wrapped(b"<dict><string>a</string></dict>"), "cannot be read"),
            (wrapped(b"<dict>"), "cannot be read"),
            (wrapped(b"<dict><key>a</key><date>2026-13-99T00:00:00Z</date></dict>"), "cannot be read"),
            (wrapped(b"<dict><key>a</key><integer>one</integer></dict>"), "cannot be read"),
            (wrapped(b"<dict><key>a</key><integer>" + b"9" * 5000 + b"</integer></dict>"), "cannot be read"),
            (
                wrapped(b"<dict><key>a</key><integer>0x1" + b"0" * 16 + b"</integer></dict>"),
                "more than 64 bits",
            ),
            (
                wrapped(
                    b"<dict><key>a</key><array><dict><key>b</key><integer>-9223372036854775809</integer>"
                    b"</dict></array></dict>"
                ),
                "more than 64 bits",
            ),
            (
                wrapped(b"<dict><key>a</key>" + b"<array>" * 20 + b"</array>" * 20 + b"</dict>"),
                "nested deeper",
            ),
            (wrapped(b"<dict><key>a</key>" + b"<array>" * 700), "nested deeper"),
            (xml() + b"<!-- -->trailing", "cannot be read"),
            (b"bplist00" + xml(), "cannot be read"),
            (plistlib.dumps(REQUIRED, fmt=plistlib.FMT_BINARY), "not in UTF-8"),
            (xml().decode().encode("utf-16"), "not in UTF-8"),
            (xml().decode().encode("utf-16-be"), "not in UTF-8"),
            ("<plist><dict/></plist>".encode("utf-16"), "not in UTF-8"),
            ("<plist><dict/></plist>".encode("utf-16-le"), "not in UTF-8"),
            (xml().replace(b"UTF-8", b"ISO-8859-1"), "not in UTF-8"),
            (xml().replace(b"UTF-8", b"idna"), "not in UTF-8"),
            (xml().replace(b"UTF-8", b"no-such-encoding"), "not in UTF-8"),
            (xml().replace(b"Mac14", b"\xff\xfe"), "cannot be read"),
            (xml().replace(b"Mac14", b"\0"), "not in UTF-8"),
            (HEAD + b"<!DOCTYPE plist [<!ENTITY e 'x'>]><plist><dict/></plist>", "declares an entity"),
            (HEAD + b"<!DOCTYPE plist [<!ENTITY % e 'x'>]><plist><dict/></plist>", "declares an entity"),
            (
                HEAD + b"<!DOCTYPE plist [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><plist><dict/></plist>",
                "declares an entity",
            ),
            (xml().replace(b"Mac14,2", b"&e;"), "names one that XML does not have"),
            (xml().replace(b"Mac14,2", b"&nbsp;"), "names one that XML does not have"),
            (b"<plist><dict><key>a</key><string>&e;</string></dict></plist>", "cannot be read"),
        ],
    )
    def test_invalid_machine_info_is_refused(self, data: bytes, reason: str) -> None:
        assert reason in refused(data).reason

    def test_nesting_is_read_up_to_its_limit(self) -> None:
        depth = MAX_DEPTH - 2  # plist and dict
        value: list[Any] = []
        for _ in range(depth - 1):
            value = [value]
        assert MachineInfo.from_plist(xml(DEEP=value)).extra == {"DEEP": value}
        assert "nested deeper than 16" in refused(xml(DEEP=[value])).reason

    def test_argument_must_be_bytes(self) -> None:
        assert "str was given, bytes are needed" in refused(xml().decode()).reason  # type: ignore[arg-type]

    @given(st.binary(max_size=300))
    def test_garbage(self, garbage: bytes) -> None:
        refused(garbage)

    @given(
        st.dictionaries(
            st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1),
            st.one_of(
                st.text(st.characters(codec="utf-8", exclude_categories=["C"])),
                st.booleans(),
                st.integers(-(2**63), 2**64 - 1),
                st.binary(max_size=50),
            ),
        )
    )
    def test_any_unknown_key_survives(self, extra: dict[str, Any]) -> None:
        extra = {f"X_{key}": value for key, value in extra.items()}
        assert MachineInfo.from_plist(xml(**extra)).extra == extra


class TestVersion:
    @each(
        ("keys", "expected"),
        [
            ({"OS_VERSION": "14.1", "VERSION": "23B74"}, "14.1"),
            ({"OS_VERSION": "14.1.2", "SUPPLEMENTAL_OS_VERSION_EXTRA": "(a)"}, "14.1.2 (a)"),
            ({"OS_VERSION": "14.1.2", "SUPPLEMENTAL_OS_VERSION_EXTRA": ""}, "14.1.2"),
            ({"OS_VERSION": "14.1.2", "SUPPLEMENTAL_OS_VERSION_EXTRA": "(new)"}, "14.1.2"),
            ({"VERSION": "22C65"}, "13.1"),
            ({"VERSION": "22C65", "SUPPLEMENTAL_OS_VERSION_EXTRA": "(a)"}, "13.1"),
            ({"OS_VERSION": "fourteen", "VERSION": "23B74"}, "14.1"),
            ({"OS_VERSION": "", "VERSION": "23B74"}, "14.1"),
        ],
    )
    def test_version_of_the_mac_overrides_the_version_of_its_build(
        self, keys: dict[str, str], expected: str
    ) -> None:
        assert MachineInfo.from_plist(xml(**keys)).version == MacOSVersion.parse(expected)

    @each("build", ["99A1", "x", "22"])
    def test_version_is_unknown_if_neither_can_be_read(self, build: str) -> None:
        assert MachineInfo.from_plist(xml(VERSION=build)).version is None
        assert MachineInfo.from_plist(xml(VERSION=build, OS_VERSION="?")).version is None


class TestModel:
    @each(
        ("product", "chip", "is_mac"),
        [
            ("Mac14,2", ChipClass.APPLE_SILICON, True),
            ("MacBookPro16,1", ChipClass.T2, True),
            ("VirtualMac2,1", ChipClass.VIRTUAL, True),
            ("iMac19,1", ChipClass.INTEL, True),
            ("NewMac1,1", ChipClass.UNKNOWN, True),
            ("iPad13,18", ChipClass.UNKNOWN, False),
            ("iPhone15,2", ChipClass.UNKNOWN, False),
            ("AppleTV14,1", ChipClass.UNKNOWN, False),
            ("Watch6,1", ChipClass.UNKNOWN, False),
            ("RealityDevice14,1", ChipClass.UNKNOWN, False),
        ],
    )
    def test_chip_and_family(self, product: str, chip: ChipClass, is_mac: bool) -> None:
        info = MachineInfo.from_plist(xml(PRODUCT=product))
        assert (info.chip, info.is_mac) == (chip, is_mac)


class TestCms:
    @pytest.mark.parametrize("form", [CmsForm.APPLE, CmsForm.IPAD, CmsForm.MODERN])
    def test_signed_by_a_trusted_device(
        self, form: CmsForm, authority: DeviceAuthority, identity: DeviceIdentity
    ) -> None:
        info = MachineInfo.from_cms(identity.sign(xml(), form=form), trust=authority.trust)
        assert info.serial_number == "C02ABCDEFGHJ"
        assert info.signature is not None
        assert info.signature.leaf_expires_at == identity.certificate.not_valid_after_utc
        assert info.signature.digest == form.digest

    def test_apples_devices_are_trusted_unless_others_are_named(self, identity: DeviceIdentity) -> None:
        with pytest.raises(TrustError, match="not issued by a trusted authority") as caught:
            MachineInfo.from_cms(identity.sign(xml()))
        assert not caught.value.is_malformed

    @pytest.mark.parametrize(
        "content",
        [
            plistlib.dumps([REQUIRED]),
            plistlib.dumps(REQUIRED, fmt=plistlib.FMT_BINARY),
            xml(SERIAL=""),
            xml(SERIAL=1),
            HEAD + b"<!DOCTYPE plist [<!ENTITY e 'x'>]><plist><dict/></plist>",
            b"not a plist",
            b"",
            b"\x31\x00",
        ],
    )
    def test_signed_invalid_machine_info_is_refused(
        self, content: bytes, authority: DeviceAuthority, identity: DeviceIdentity
    ) -> None:
        with pytest.raises(TrustError) as caught:
            MachineInfo.from_cms(identity.sign(content), trust=authority.trust)
        assert caught.value.is_malformed

    def test_unsigned_machine_info_is_refused(self, authority: DeviceAuthority) -> None:
        with pytest.raises(TrustError) as caught:
            MachineInfo.from_cms(xml(), trust=authority.trust)
        assert caught.value.is_malformed


class TestHeader:
    @pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes])
    @pytest.mark.parametrize("form", [CmsForm.APPLE, CmsForm.IPAD])
    def test_every_variant_of_base64_is_read(
        self, encode: Any, form: CmsForm, authority: DeviceAuthority, identity: DeviceIdentity
    ) -> None:
        message = identity.sign(xml(NEW_IN_27="\u00fe\u00ff~~~???" * 50), form=form)
        value = encode(message)
        expected = MachineInfo.from_cms(message, trust=authority.trust)
        assert MachineInfo.from_header(value, trust=authority.trust) == expected
        assert MachineInfo.from_header(f" {value.decode()}\r\n\t", trust=authority.trust) == expected

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            (None, "x-apple-aspen-deviceinfo is missing"),
            ("", "is empty"),
            (" \n", "is empty"),
            ("MIIB*", "cannot be read"),
            ("MIIB\u00e9", "cannot be read"),
            (b"MII\xff", "cannot be read"),
            ("MIIBA", "cannot be read"),
            ("MIIBAA", "cannot be read"),
            ("MI=IB", "cannot be read"),
            ("MIIB====", "cannot be read"),
            ("MIIB\0", "cannot be read"),
            ("%4DIIB", "cannot be read"),
            ("MIIB", "cannot be read"),
            ("A" * (2 * MAX_BYTES + 1), "at most 131072"),
            (base64.b64encode(bytes(MAX_BYTES + 1)), "at most 65536"),
        ],
    )
    def test_invalid_header_is_refused(self, value: Any, reason: str, authority: DeviceAuthority) -> None:
        with pytest.raises(TrustError) as caught:
            MachineInfo.from_header(value, trust=authority.trust)
        assert reason in caught.value.reason
        assert caught.value.is_malformed
        assert caught.value.__cause__ is None

    def test_apples_devices_are_trusted_unless_others_are_named(self, identity: DeviceIdentity) -> None:
        with pytest.raises(TrustError, match="not issued by a trusted authority"):
            MachineInfo.from_header(base64.b64encode(identity.sign(xml())))


TEXTS = st.text(st.sampled_from("abZ09 .,-_/:;()'\"\t\n") | st.characters(codec="utf-8"), max_size=12)
FLAT = st.dictionaries(TEXTS, TEXTS | st.booleans(), max_size=6).map(_dumped)
PIECES = (
    b"<key>a</key> <string>b</string> <true/> <false/> <dict> </dict> <!----> &amp; <string/> <dict/> ]]>"
)
OTHERS = (b"\r", b"\n", b" ", b"<integer>1</integer>", b"\xc3\xa9", b"\0", b"\x0b")
MARKUP = st.sampled_from([*PIECES.split(), *OTHERS])


class TestSinglePassReader:
    @given(FLAT, st.lists(st.tuples(st.integers(0, 600), st.integers(0, 8), MARKUP), max_size=2))
    def test_result_equals_that_of_the_full_reader(
        self, data: bytes, edits: list[tuple[int, int, bytes]]
    ) -> None:
        for at, size, piece in edits:
            data = data[:at] + piece + data[at + size :]
        found = plist._read_flat(data)
        if found is None:
            return
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(plist, "_read_flat", lambda _: None)
            assert plist.read_plist(data) == found
        assert {type(value) for value in found.values()} <= {str, bool}

    @given(st.dictionaries(PLAIN, PLAIN | st.booleans(), min_size=1, max_size=20))
    def test_plist_of_a_mac_is_read_in_one_pass(self, words: dict[str, str | bool]) -> None:
        assert plist._read_flat(_dumped(words)) == words

    def test_time_is_linear_in_the_size(self) -> None:
        pair = b"<key>a</key><string>b</string>"
        data = plistlib.dumps({}).replace(b"<dict/>", b"<dict>" + pair * 2_000 + b"</dict")
        assert len(data) < MAX_BYTES
        assert plist._read_flat(data) is None
