"""The server of the live page: on this machine only, for whoever holds the token, without a state of any tab."""

import contextlib
import json
import secrets
import socket
import threading
import time

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from fsjax.explore.subject import Subject
from fsjax.report import html
from fsjax.runtime.errors import InputError, one_line

_HOST = "127.0.0.1"
# Methods of Subject that a tab may call.
_ANSWERS = ("image", "answer", "others", "attribute", "python")


class Page:
    """A served page; `address` holds its token. Raises InputError for a port that is taken."""

    def __init__(self, subject: Subject, port: int = 0):
        try:
            self._socket = socket.create_server((_HOST, port))
        except OSError as error:
            raise InputError(f"port: got {port} ({one_line(error)}); expected a free one, or 0") from error
        token = secrets.token_urlsafe(16)
        self.address = f"http://{_HOST}:{self._socket.getsockname()[1]}/?token={token}"
        self._server = uvicorn.Server(uvicorn.Config(application(subject, token), log_config=None, lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.01)

    def wait(self) -> None:
        """Return when the page is closed, or at Ctrl-C."""
        with contextlib.suppress(KeyboardInterrupt):
            self._thread.join()

    def close(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def __repr__(self) -> str:
        return f"<fsjax page at {self.address}>"


def application(subject: Subject, token: str) -> Starlette:
    """Return the routes; each asks for the token and for this machine's own name."""
    lock = threading.Lock()  # two answers at once would share the cores

    def answer(name: str, body: bytes) -> Response:
        try:
            if not isinstance(content := json.loads(body), dict):
                raise InputError("request: got no JSON object; expected one")
            with lock:
                return JSONResponse(getattr(subject, name)(content))
        except InputError as error:
            return JSONResponse({"error": one_line(error)}, 400)
        except Exception as error:  # of the caller's model, or ours: the page shows a line
            return JSONResponse({"error": f"{type(error).__name__}: {one_line(error)}"}, 500)

    async def respond(request: Request) -> Response:
        if not secrets.compare_digest(request.query_params.get("token", "").encode(), token.encode()):
            return PlainTextResponse("token: expected the address that `fsjax explore` printed", 403)
        if request.method == "POST":
            return await run_in_threadpool(answer, request.url.path[1:], await request.body())
        return HTMLResponse(html.template("live.html").render(title=subject.title, known=subject.state()))

    routes = [Route("/", respond), *(Route(f"/{name}", respond, methods=["POST"]) for name in _ANSWERS)]
    # Another site's name may lead to this machine (DNS rebinding): the browser then sends that name.
    return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[_HOST])])
