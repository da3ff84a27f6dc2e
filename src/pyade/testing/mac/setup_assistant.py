"""The requests of one simulated enrollment, as a flow.

::

    POST url -------+--> 200 profile
    or GET web_url  |--> 401 Basic: again with name and password
      with header   |--> 403 com.apple.softwareupdate.required: update, then start again
                    |--> 403 com.apple.psso.required: set up, sign in, POST with the token
                    +--> anything else: MacError

Source: Apple, "Authenticating through web views", ``com.apple.softwareupdate.required``, "Implementing
Platform SSO during device enrollment".
"""

from __future__ import annotations

import base64
import json
import plistlib
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit
from xml.parsers.expat import ExpatError

import attrs
import httpx

from pyade.core.macos.versions import MacOSVersion
from pyade.errors import VersionError
from pyade.flow import Flow, Step, ask
from pyade.testing.errors import MacError
from pyade.testing.mac.enrollment import FakeEnrollment, read_enrollment
from pyade.testing.mac.state import MacState

PROFILE_TYPE: Final = "application/x-apple-aspen-config"
HEADER: Final = "x-apple-aspen-deviceinfo"
_UPDATE: Final = "com.apple.softwareupdate.required"
_SSO: Final = "com.apple.psso.required"
_SSO_SCHEME: Final = "apple-remotemanagement-user-login"
_MOST_REDIRECTS: Final = 20
_MOST_ORDERS: Final = 8
_AGENT: Final = "CloudConfiguration/1.0"
_BROWSER: Final = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"


@attrs.frozen
class SendRequest(Step[httpx.Response]):
    """Send *request* and answer with the response of the server."""

    request: httpx.Request


class EnrollmentAttempt:
    """One attempt to enroll; create a new object for each."""

    def __init__(self, mac: MacState) -> None:
        self._mac = mac
        self._cookies = httpx.Cookies()
        self._token = ""

    def steps(self) -> Flow[FakeEnrollment]:
        """Return how the Mac would enroll."""
        mac = self._mac
        if not mac.url.startswith("https://") and not mac.url.startswith("http://"):
            raise MacError("this Mac has no enrollment URL: call activate(), or give url=")
        for _ in range(_MOST_ORDERS):
            if mac.web_url and not self._token and mac.version >= _WEB_VIEW_FROM:
                response = yield from self._web_view()
            else:
                response = yield from self._post()
            if response.status_code == 200:
                return self._read_profile(response)
            yield from self._execute(response)
        raise MacError(f"the server refused the Mac with further orders {_MOST_ORDERS} times")

    # The first requests

    def _post(self) -> Flow[httpx.Response]:
        mac = self._mac
        headers = {
            "Accept": "*/*",
            "Accept-Language": mac.language,
            "Content-Type": "application/pkcs7-signature",
            "User-Agent": _AGENT,
        }
        changes: dict[str, Any] = {}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
            changes["MDM_CAN_REQUEST_PSSO_CONFIG"] = None
        body = mac.signed(**changes)
        response = yield from ask(SendRequest(httpx.Request("POST", mac.url, headers=headers, content=body)))
        asks = response.headers.get("WWW-Authenticate", "").lower().startswith("basic")
        if response.status_code == 401 and asks and mac.name and not self._token:
            pair = base64.b64encode(f"{mac.name}:{mac.password}".encode()).decode()
            headers["Authorization"] = f"Basic {pair}"
            response = yield from ask(
                SendRequest(httpx.Request("POST", mac.url, headers=headers, content=body))
            )
        return response

    def _web_view(self) -> Flow[httpx.Response]:
        mac = self._mac
        first = self._browser_request(mac.web_url, {HEADER: mac.header()})
        response = yield from self._browse(first)
        if response.status_code == 200 and response.request.url.host != httpx.URL(mac.web_url).host:
            raise MacError("the profile comes from another host than the first page of the web view")
        return response

    def _browse(self, request: httpx.Request) -> Flow[httpx.Response]:
        """Follow redirects and the user's requests until a response is not a page."""
        for _ in range(_MOST_REDIRECTS):
            if self._mac.keeps_cookies:
                self._cookies.set_cookie_header(request)
            response = yield from ask(SendRequest(request))
            self._cookies.extract_cookies(response)
            following = self._next_request(response)
            if following is None:
                return response
            request = following
        raise MacError(f"the web view was redirected more than {_MOST_REDIRECTS} times")

    def _next_request(self, response: httpx.Response) -> httpx.Request | None:
        if response.has_redirect_location:
            target = response.request.url.join(response.headers["Location"])
            if target.scheme == _SSO_SCHEME:
                return None
            if target.scheme != "https" and response.request.url.scheme == "https":
                raise MacError(f"the web view is redirected from https to {target.scheme}")
            if response.status_code in (307, 308):
                return self._browser_request(target, {}, response.request.method, response.request.content)
            return self._browser_request(target, {})
        if response.status_code != 200 or _type_of(response) == PROFILE_TYPE:
            return None
        answer = None if self._mac.browse is None else self._mac.browse(response)
        if answer is None:
            raise MacError(f"the web view ends at a page of type {_type_of(response) or 'none'}", 200)
        return answer

    def _browser_request(
        self,
        url: httpx.URL | str,
        headers: Mapping[str, str],
        method: str = "GET",
        content: bytes = b"",
    ) -> httpx.Request:
        fields = {"User-Agent": _BROWSER, "Accept": "text/html,*/*", **headers}
        return httpx.Request(method, url, headers=fields, content=content or None)

    # Orders of the server

    def _execute(self, response: httpx.Response) -> Flow[None]:
        """Carry out the order of a 403; raise for any other response."""
        body = _read_order(response)
        code = str(body.get("code", ""))
        details = body.get("details")
        status = response.status_code
        entry = self._mac.history[-1]
        if code:
            self._mac.history[-1] += f" {code}"
        if status != 403 or code not in (_UPDATE, _SSO):
            why = entry.partition(" (")[2].removesuffix(")")
            raise MacError(f"the server refuses with status {status}" + (f": {why}" if why else ""), status)
        if not isinstance(details, dict):
            raise MacError(f"{code} has no details", status)
        if code == _UPDATE:
            self._update(details)
        else:
            yield from self._platform_sso(details)

    def _update(self, details: Mapping[str, Any]) -> None:
        mac = self._mac
        if not mac.machine_info().get("MDM_CAN_REQUEST_SOFTWARE_UPDATE"):
            raise MacError("ordered to update, which this Mac did not offer", 403)
        try:
            version = MacOSVersion.parse(details["OSVersion"])
        except (KeyError, VersionError) as error:
            raise MacError(f"ordered to update without a valid version: {error}", 403) from error
        build = str(details.get("BuildVersion", ""))
        if version < mac.version or (version == mac.version and build in ("", mac.build)):
            raise MacError(f"ordered to update to {version}, and has {mac.version} already", 403)
        mac.update(version, build)

    def _platform_sso(self, details: Mapping[str, Any]) -> Flow[None]:
        if self._token or not self._mac.machine_info().get("MDM_CAN_REQUEST_PSSO_CONFIG"):
            raise MacError("ordered to set up Platform SSO, which this Mac did not offer", 403)
        addresses = [details.get("ProfileURL"), details.get("AuthURL")]
        package = details.get("Package")
        addresses.append(package.get("ManifestURL") if isinstance(package, dict) else None)
        for address in addresses:
            if not isinstance(address, str) or not address.startswith("https://"):
                raise MacError(f"{_SSO} needs three https addresses, one is {address!r}", 403)
        profile, page, manifest = map(str, addresses)
        for what, address in (("profile", profile), ("manifest", manifest)):
            response = yield from ask(
                SendRequest(httpx.Request("GET", address, headers={"User-Agent": _AGENT}))
            )
            if response.status_code != 200:
                raise MacError(f"the {what} of Platform SSO cannot be downloaded", response.status_code)
        response = yield from self._browse(self._browser_request(page, {}))
        target = urlsplit(response.headers.get("Location", ""))
        if target.scheme != _SSO_SCHEME or target.netloc != "authentication-results":
            raise MacError("the sign-in of Platform SSO does not end with a token", response.status_code)
        self._token = parse_qs(target.query).get("access-token", [""])[0]
        if response.status_code != 308 or not self._token:
            raise MacError("the sign-in of Platform SSO does not end with a 308 and a token")

    def _read_profile(self, response: httpx.Response) -> FakeEnrollment:
        if _type_of(response) != PROFILE_TYPE:
            raise MacError(
                f"the response has the type {_type_of(response) or 'none'} instead of {PROFILE_TYPE}", 200
            )
        return read_enrollment(response.content, version=self._mac.version, chip=self._mac.chip)


def _type_of(response: httpx.Response) -> str:
    return str(response.headers.get("Content-Type", "")).partition(";")[0].strip().lower()


def _read_order(response: httpx.Response) -> Mapping[str, Any]:
    """Return the parsed body of a 403; {} without the right content type, as a Mac ignores such a body."""
    kind = _type_of(response)
    try:
        if kind == "application/json":
            body = json.loads(response.content)
        elif kind in ("application/xml", "text/xml", "application/x-plist", "application/x-apple-plist"):
            body = plistlib.loads(response.content, fmt=plistlib.FMT_XML)
        else:
            return {}
    except (ExpatError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


_WEB_VIEW_FROM: Final = MacOSVersion(10, 15)
