"""The server of `flcourse app`: Streamlit's page behind a guard that lets nobody but this machine's own browser in."""

import contextlib
import threading
import webbrowser
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit import config
from streamlit.starlette import App

NAMES = ("127.0.0.1", "localhost", "::1")  # what a browser calls this machine


class OwnPagesOnly:
    """Refuses requests and websockets that this machine's own page did not ask for, as Jupyter's server does.

    The address 127.0.0.1 keeps other machines out, but not other pages in this machine's browser: one of a stranger's
    server may open a websocket to here (its `Origin` says so), or point its own name to 127.0.0.1 once it is loaded
    ("DNS rebinding"), and is then of the same origin; but its `Host` is still that name.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or _ours(scope["headers"]):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "not from this machine's own page"})
        else:
            text = (
                f"The page is for this machine alone: open it at the address that was printed ({', '.join(NAMES)}).\n"
            )
            await PlainTextResponse(text, status_code=403)(scope, receive, send)


def _ours(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether the one `Host` is this machine and `Origin`, which not every request has, is that very host."""

    def values(name: bytes) -> list[str]:
        return [value.decode("latin-1").lower() for key, value in headers if key == name]

    hosts, origins = values(b"host"), values(b"origin")
    try:
        names = [urlsplit(f"//{host}").hostname for host in hosts]
        return len(hosts) == 1 and names[0] in NAMES and all(urlsplit(o).netloc == hosts[0] for o in origins)
    except ValueError:  # no address at all
        return False


@contextlib.asynccontextmanager
async def announced(app: App) -> AsyncIterator[None]:
    """Say where the page is, once the server is up, and open a browser where one is wanted.

    A user's own configuration of Streamlit may put the page below a path, or behind a certificate.
    """
    scheme = "https" if config.get_option("server.sslCertFile") else "http"
    path = (config.get_option("server.baseUrlPath") or "").strip("/")
    address = f"{scheme}://{config.get_option('server.address')}:{config.get_option('server.port')}/{path}".rstrip("/")
    print(f"The app is on {address}, for this machine alone; Ctrl-C ends it", flush=True)
    if not config.get_option("server.headless"):
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()  # a text browser would block
    yield


app = App(Path(__file__).with_name("streamlit_app.py"), lifespan=announced, middleware=[Middleware(OwnPagesOnly)])
