"""HTTP requests that end in time, whatever the server does: who answers at all, and an answer as it comes."""

import queue
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from email.message import Message
from functools import cache
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

CONNECT_SECONDS = 4.0  # for name look-up and connection together: a dead network shows within the 5 s we promise
STALL_SECONDS = 5.0  # a server silent for this long is asked again, for the rest
BLOCK_BYTES = 1 << 16  # small enough that the bar moves on a slow line


class BrokenTransfer(Exception):
    """The network, not the disk, ended a transfer."""


def reachable(urls: list[str], troubles: list[str]) -> Iterator[str]:
    """Those of `urls` whose host, or the proxy before it, takes a connection; the others go to `troubles`.

    All are tried at once, so that the dead ones cost `CONNECT_SECONDS` in all; in threads, because a name look-up
    heeds no time limit.
    """

    def probe(url: str) -> None:
        try:
            socket.create_connection(_first_hop(url), timeout=CONNECT_SECONDS).close()
            answers[url] = None
        except (OSError, ValueError) as error:
            answers[url] = f"no connection ({_reason(error)})"

    answers: dict[str, str | None] = {}
    deadline = time.monotonic() + CONNECT_SECONDS
    probes = [threading.Thread(target=probe, args=(url,), daemon=True) for url in urls]
    for thread in probes:
        thread.start()
    for url, thread in zip(urls, probes, strict=True):
        thread.join(max(0.0, deadline - time.monotonic()))
        trouble = answers.get(url, f"no connection within {CONNECT_SECONDS:.0f} s")
        if trouble is None:
            yield url
        else:
            troubles.append(f"{url}: {trouble}")


def _first_hop(url: str) -> tuple[str, int]:
    """Host and port that a request for `url` connects to first: a proxy's where one is set."""
    address = urlsplit(url)
    proxy = urllib.request.getproxies().get(address.scheme)
    if proxy and not urllib.request.proxy_bypass(address.hostname or ""):
        address = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return address.hostname or "", address.port or (443 if address.scheme == "https" else 80)


class Answer:
    """A server's answer, which a thread of its own reads, so that no slowness of the server's outlasts a limit.

    Time limits on a socket begin anew with every byte: a server that sends a header's next letter every four seconds
    could keep `urlopen` for days.
    """

    def __init__(self, url: str, start: int) -> None:
        self._parts: queue.Queue = queue.Queue(maxsize=16)  # headers, blocks, then None; or what went wrong
        self._over = threading.Event()
        threading.Thread(target=self._read, args=(url, start), daemon=True).start()

    def __enter__(self) -> "Answer":
        return self

    def __exit__(self, *_) -> None:
        self._over.set()

    def headers(self, until: float) -> Message | None:
        """The answer's headers, or None where no byte follows `start`. Raises `BrokenTransfer`."""
        return self._next(until, CONNECT_SECONDS + 2 * STALL_SECONDS)  # redirections take a while

    def blocks(self, until: float) -> Iterator[bytes]:
        """The bytes as they come. Raises `BrokenTransfer`."""
        while (block := self._next(until, 2 * STALL_SECONDS)) is not None:
            yield block

    def _next(self, until: float, patience: float) -> Any:
        left = until - time.monotonic()
        if left <= 0:
            raise BrokenTransfer("far too slow, given up; what came is kept")
        try:
            part = self._parts.get(timeout=min(left, patience))
        except queue.Empty:
            if left < patience:
                return self._next(until, 0)
            raise BrokenTransfer(f"silent for {patience:.0f} s") from None
        if isinstance(part, Exception):
            raise BrokenTransfer(_reason(part)) from part
        return part

    def _read(self, url: str, start: int) -> None:
        headers = {"User-Agent": "flcourse"} | ({"Range": f"bytes={start}-"} if start else {})
        try:
            request = urllib.request.Request(url, headers=headers)
            with _opener().open(request, timeout=STALL_SECONDS) as response:
                listening = self._put(response.headers)
                while listening and (block := response.read1(BLOCK_BYTES)):  # read() loses what came before a stall
                    listening = self._put(block)
            self._put(None)
        except HTTPError as error:
            error.close()
            self._put(None if error.code == 416 and start else error)
        except (OSError, HTTPException, ValueError) as error:  # ValueError: an address that is none
            self._put(error)

    def _put(self, part: object) -> bool:
        """Hand something over; False once nobody waits for it any more."""
        while not self._over.is_set():
            with suppress(queue.Full):
                self._parts.put(part, timeout=0.2)
                return True
        return False


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server to another address, but never from https to where anybody on the way can read and change."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        old, new = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if new != old and new != "https":
            raise URLError(f"redirects from {old} to {new}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.HTTPSHandler(context=_certificates()), _Redirects())


@cache
def _certificates() -> ssl.SSLContext:
    """The system's certificates; where python.org's macOS build has none, those of `certifi` if it is there."""
    context = ssl.create_default_context()
    if not context.get_ca_certs() and ssl.get_default_verify_paths().capath is None:
        with suppress(ImportError):
            import certifi

            context.load_verify_locations(certifi.where())
    return context


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"HTTP status {error.code} {error.reason}"
    if isinstance(error, URLError):
        if not isinstance(error.reason, Exception):
            return str(error.reason)
        error = error.reason
    if isinstance(error, TimeoutError):
        return f"silent for {STALL_SECONDS:.0f} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not trusted: {error.verify_message}; SSL_CERT_FILE can name your network's certificates"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
