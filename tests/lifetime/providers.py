"""A small OpenID Connect provider on loopback, which can be told to do wrong."""

import base64
import hashlib
import json
import secrets
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT, SECRET = "console", "the client's secret"


class Provider:
    """Codes are given for whoever `claims` describes; `wrong` changes single claims or steps."""

    def __init__(self):
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.other_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.claims = {"sub": "42", "email": "ada@example.org", "email_verified": True, "name": "Ada Lovelace"}
        self.wrong = {}
        self.codes = {}
        self.asked = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.issuer = f"http://127.0.0.1:{self.server.server_address[1]}"

    def authorize(self, address):
        """What the provider does with the browser that the console sent: the query it comes back with."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        code = secrets.token_urlsafe(8)
        self.codes[code] = asked
        return asked, urlencode({"code": code, "state": asked["state"]})

    def token(self, form):
        asked = self.codes.pop(form.get("code", ""), None)
        verifier = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(verifier).rstrip(b"=").decode()
        if asked is None or challenge != asked["code_challenge"] or form.get("client_secret") != SECRET:
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "exp": now + 60, "iat": now, "nonce": asked["nonce"], "sub": "42"}
        claims = {name: value for name, value in {**claims, **self.wrong.get("token", {})}.items() if value is not None}
        key = self.other_key if "key" in self.wrong else self.key
        signed = jwt.encode(claims, key, algorithm="RS256", headers={"kid": "1"})
        return 200, {"id_token": signed, "access_token": "access", "token_type": "Bearer"}

    def _handler(provider):  # noqa: N805 - the provider, not the handler
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def answer(self, status, body):
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self):
                provider.asked.append(self.path)
                issuer = provider.issuer
                if self.path == "/.well-known/openid-configuration":
                    self.answer(
                        provider.wrong.get("status", 200),
                        {
                            "issuer": provider.wrong.get("issuer", issuer),
                            "authorization_endpoint": f"{issuer}/authorize",
                            "token_endpoint": f"{issuer}/token",
                            "userinfo_endpoint": f"{issuer}/userinfo",
                            "jwks_uri": f"{issuer}/jwks",
                        },
                    )
                elif self.path == "/jwks":
                    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(provider.key.public_key()))
                    self.answer(200, {"keys": [{**public, "kid": "1", "alg": "RS256", "use": "sig"}]})
                elif self.path == "/userinfo" and self.headers["Authorization"] == "Bearer access":
                    self.answer(200, provider.claims)
                else:
                    self.answer(404, {})

            def do_POST(self):
                provider.asked.append(self.path)
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self.answer(*provider.token({name: values[0] for name, values in parse_qs(body).items()}))

        return Handler


@contextmanager
def running():
    provider = Provider()
    thread = threading.Thread(target=provider.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        provider.server.shutdown()
        provider.server.server_close()
        thread.join()
