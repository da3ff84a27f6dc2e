"""Network settings for corporate networks: proxies, certificates, connections.

All settings have the names and the meaning of httpx, including its environment variables. Values that httpx
would refuse late or with an unclear error are checked here, and the error names the argument or variable.

Source: httpx, "Environment Variables", "SSL" and "Proxies"; curl for ``NO_PROXY``.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import ssl
from collections.abc import Iterable, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import httpx

from pyade.errors import CertificateError, InvalidRequestError, TransportError

TIMEOUT = httpx.Timeout(60.0, connect=10.0)
CONFIGURE = "configure the client"
"""The ``operation`` of errors about the arguments of a constructor."""

_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")

_TRUST = (
    "check base_url and the clock; if a proxy inspects the connections, or a server of your own answers, pass"
    " the certificate of its authority as verify= or in SSL_CERT_FILE"
)

HttpT = TypeVar("HttpT", httpx.Client, httpx.AsyncClient)


class Network(TypedDict, total=False):
    """How connections are made; names as in httpx.

    Attributes:
        proxy: Address of a proxy, or ``httpx.Proxy``; left out, the proxies of the environment.
        verify: The certificates to trust: a file or folder, or an ``ssl.SSLContext``, which may also hold a
            client certificate; True for those of httpx, or of ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``.
        limits: How many connections are open and kept.
        http2: True to offer HTTP/2, which needs the package ``h2``.
    """

    proxy: str | httpx.URL | httpx.Proxy | None
    verify: bool | str | Path | ssl.SSLContext
    limits: httpx.Limits | None
    http2: bool


def open_http(
    kind: type[HttpT],
    *,
    addresses: Iterable[str],
    headers: Mapping[str, str],
    transport: Any,
    network: Network,
) -> HttpT:
    """Return an HTTP client of httpx.

    Args:
        kind: ``httpx.Client`` or ``httpx.AsyncClient``.
        addresses: Base URLs of the service; an address of this machine is used without a proxy.
        headers: Sent with every request.
        transport: The caller's own; None for the network.
        network: How connections are made.

    Raises:
        InvalidRequestError: A setting cannot be used; the error names the argument or the variable.
    """
    # No cookie of a server is ever sent back.
    cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    common: dict[str, Any] = {
        "headers": headers,
        "follow_redirects": False,
        "cookies": cookies,
    }
    if transport is not None:
        for name, value in network.items():
            if value not in (None, False, True) or (name == "http2" and value):
                step = "leave one of them out: a transport makes its own connections"
                raise _refused(f"{name}= is given together with transport=", step)
        return kind(transport=transport, **common)
    options = _options(network, addresses)
    try:
        return kind(**options, **common)
    except (httpx.InvalidURL, ValueError) as error:
        reason = str(error)
    # All other settings were checked before.
    variable = "NO_PROXY" if os.environ.get("NO_PROXY") else "no_proxy"
    what = f"{variable} {os.environ.get(variable, '')!r} cannot be read ({reason})"
    raise _refused(what, "hosts and addresses, without ranges of IPv6, are allowed, separated by commas")


def validate_timeout(timeout: object) -> httpx.Timeout:
    """Return *timeout* as httpx's own object.

    Raises:
        InvalidRequestError: It is no ``httpx.Timeout``, no number above 0 and not None.
    """
    if isinstance(timeout, httpx.Timeout):
        return timeout
    is_number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool) and timeout > 0
    if timeout is None or is_number:
        return httpx.Timeout(timeout)  # type: ignore[arg-type]
    what = f"timeout={timeout!r}: seconds above 0, None or httpx.Timeout is allowed"
    raise _refused(what, "leave it out for a minute")


def is_local(url: str) -> bool:
    """Return True if *url* is a loopback address, which needs no proxy."""
    host = httpx.URL(url).host
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _options(network: Network, addresses: Iterable[str]) -> dict[str, Any]:
    """Return the arguments of httpx's client for *network* and the environment."""
    proxy, limits = network.get("proxy"), network.get("limits")
    options: dict[str, Any] = {"verify": _context(network.get("verify", True))}
    if limits is not None:
        if not isinstance(limits, httpx.Limits):
            raise _refused(f"limits={limits!r}: httpx.Limits is allowed", "such as httpx.Limits(...)")
        options["limits"] = limits
    if network.get("http2"):
        _require("h2", "http2=True", "pip install 'httpx[http2]'")
        options["http2"] = True
    if proxy is not None:
        return {**options, "proxy": _checked_proxy(proxy, "proxy=")}
    for variable in (*_PROXIES, *map(str.lower, _PROXIES)):
        if value := os.environ.get(variable):
            _checked_proxy(value if "://" in value else f"http://{value}", variable)
    hosts = {httpx.URL(address).netloc.decode() for address in addresses if is_local(address)}
    return {**options, "mounts": {f"all://{host}": None for host in hosts}}


def _context(verify: object) -> ssl.SSLContext:
    """Return the TLS context for *verify*, or for the variables of the environment."""
    if isinstance(verify, ssl.SSLContext):
        return verify
    if verify is None or verify is True:
        for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
            if path := os.environ.get(variable):
                return _context_for(path, variable)
        return httpx.create_ssl_context()
    if isinstance(verify, str | Path):
        return _context_for(str(verify), "verify=")
    what = f"verify={verify!r}: a file, a folder or an ssl.SSLContext is allowed"
    raise _refused(what, "name the certificate of the authority that your network uses")


def _context_for(path: str, name: str) -> ssl.SSLContext:
    try:
        if Path(path).is_dir():
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
    what = f"{name} {path!r} cannot be read: {reason}"
    raise _refused(what, "name a file or folder with certificates in PEM")


def _checked_proxy(proxy: str | httpx.URL | httpx.Proxy, name: str) -> httpx.Proxy:
    made = None
    with contextlib.suppress(httpx.InvalidURL, ValueError, TypeError, AttributeError):
        made = proxy if isinstance(proxy, httpx.Proxy) else httpx.Proxy(proxy)
    if made is None or not made.url.host:
        # Not shown if it may hold a password.
        shown = repr(str(proxy)) if "@" not in str(proxy) else "(not shown)"
        what = f"{name} {shown} is not the address of a proxy"
        raise _refused(what, "such as http://proxy.example:3128, https:// or socks5://")
    if made.url.scheme.startswith("socks"):
        _require("socksio", f"{name} names a SOCKS proxy", "pip install 'httpx[socks]'")
    return made


def _require(package: str, name: str, command: str) -> None:
    if find_spec(package) is None:
        raise _refused(f"{name}, for which the package {package} is missing", command)


def _refused(what: str, next_step: str) -> InvalidRequestError:
    return InvalidRequestError(CONFIGURE, 0, "", what, next_step)


def lost_connection(
    operation: str, reason: str, error: BaseException, *, effect_unknown: bool
) -> TransportError:
    """Return the error for a request without a complete response, with what to do about it.

    Args:
        operation: The operation.
        reason: What the transport reported.
        error: What httpx raised.
        effect_unknown: True if Apple may have acted on the request.
    """
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    kind = (
        CertificateError
        if any(isinstance(one, ssl.SSLCertVerificationError) for one in causes)
        else TransportError
    )
    return kind(operation, reason, effect_unknown, _next_step_after(error, causes[-1]))


def _next_step_after(error: BaseException, root: BaseException) -> str:
    """Return what to do about a connection that could not be made; "" for one that broke later."""
    if not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
        return ""
    if isinstance(root, ssl.SSLError):
        return _TRUST
    place = "the DNS of this machine" if isinstance(root, socket.gaierror) else "the firewall"
    return f"check base_url, {place}, and the proxy: proxy=, HTTPS_PROXY and NO_PROXY"
