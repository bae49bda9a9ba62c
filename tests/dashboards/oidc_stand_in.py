"""A provider of OpenID Connect on this machine: discovery, a page to sign in, tokens, keys, and no passwords."""

import asyncio
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, CLIENT_SECRET = "dataengine", "of the client"


@dataclass
class Provider:
    """Signs in whoever is chosen on its page; `claims` are what it says of each beside the name."""

    port: int
    people: dict[str, dict[str, Any]]
    codes: dict[str, tuple[str, str]] = field(default_factory=dict)
    granted: list[str] = field(default_factory=list)

    def __enter__(self) -> "Provider":
        self._key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})
        self._loop = asyncio.new_event_loop()
        up = threading.Event()

        def serve() -> None:
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(self._start())
            up.set()
            self._loop.run_forever()

        self._thread = threading.Thread(target=serve, daemon=True)
        self._thread.start()
        assert up.wait(20)
        return self

    def __exit__(self, *error: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/authorize", self._authorize)
        app.router.add_get("/chosen", self._chosen)
        app.router.add_post("/token", self._token)
        app.router.add_get("/jwks", self._jwks)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def _discovery(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/jwks",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "code_challenge_methods_supported": ["S256"],
            }
        )

    async def _authorize(self, request: web.Request) -> web.Response:
        """The page on which somebody says who they are."""
        assert request.query["client_id"] == CLIENT and "code_challenge" in request.query
        kept = {name: request.query[name] for name in ("state", "nonce", "redirect_uri")}
        links = [
            f'<p><a href="/chosen?{urlencode(kept | {"who": who})}">person {n}</a></p>'
            for n, who in enumerate(self.people)
        ]
        return web.Response(text="".join(links), content_type="text/html")

    async def _chosen(self, request: web.Request) -> web.Response:
        code = secrets.token_hex(16)
        self.codes[code] = (request.query["who"], request.query["nonce"])
        back = urlencode({"code": code, "state": request.query["state"]})
        raise web.HTTPFound(f"{request.query['redirect_uri']}?{back}")

    async def _token(self, request: web.Request) -> web.Response:
        asked = await request.post()
        # A code is good for one time.
        who, nonce = self.codes.pop(str(asked["code"]))
        assert asked["code_verifier"]
        self.granted.append(who)
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "sub": who, "iat": now, "exp": now + 600, "nonce": nonce}
        token = jwt.encode({"alg": "RS256", "kid": "one"}, claims | self.people[who], self._key)
        return web.json_response(
            {"access_token": secrets.token_hex(8), "token_type": "Bearer", "expires_in": 600, "id_token": token}
        )

    async def _jwks(self, request: web.Request) -> web.Response:
        return web.json_response({"keys": [self._key.as_dict(private=False)]})
