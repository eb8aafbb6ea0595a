"""Those who issue tokens in a cloud, as they look from a Pod: each speaks its own protocol over HTTP on loopback.

They refuse what the real ones refuse, with their words and codes. `mood` makes them something else: `slow`, `garbage`,
`redirect`, `huge`, `expired` (what they give has ended), `down` (an error of their own), `busy` (asked too often).
"""

import asyncio
import datetime
import secrets
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from cipher_operator.api.choices import AuthMethod
from devcluster.tls import TlsFixture
from support.web_tokens import TokenIssuer

SUBJECT = "system:serviceaccount:cipher-system:cipher-operator"
REGION = "eu-west-1"
TROUBLE = {"down": 503, "busy": 429}
GARBAGE = "<html>captive portal, password=hunter2</html>"


class Issuer:
    """One issuer. `asked` counts questions, `strayed` redirects followed; `seconds` is how long what it gives lasts.

    `late` are seconds by which its clock is ahead of this machine's.
    """

    method: AuthMethod
    user: str
    audience: str
    headers: Mapping[str, str] = {}

    def __init__(self, folder: Path, tls: TlsFixture | None = None) -> None:
        self._tls = tls
        self.mood, self.asked, self.strayed, self.seconds, self.late = "good", 0, 0, 3600.0, 0.0
        self.cluster = TokenIssuer("cluster")
        self.token_file = folder / "token"
        self.mount()

    def mount(self, seconds: float = 3600.0, audience: str | None = None, cluster: TokenIssuer | None = None) -> str:
        """Write the ServiceAccount's token, as the kubelet does, and return it."""
        token = (cluster or self.cluster).issue(audience or self.audience, SUBJECT, self.now + seconds)
        self.token_file.write_text(token)
        return token

    def environ(self) -> dict[str, str]:
        """Return what the cloud's webhook puts into a Pod."""
        raise NotImplementedError

    async def answer(self, request: web.Request) -> web.Response:
        raise NotImplementedError

    def revoke(self) -> None:
        """Have nothing taken any more that was given until now."""
        raise NotImplementedError

    @property
    def now(self) -> float:
        return time.time() + self.late

    @property
    def lifetime(self) -> float:
        return -5.0 if self.mood == "expired" else self.seconds

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}" if self._tls else f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        context = None
        if self._tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._tls.certificate, self._tls.key)
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        assert site._server is not None
        self.port: int = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        if request.path == "/elsewhere":
            self.strayed += 1
        if self.mood == "slow":
            await asyncio.sleep(60)
        if self.mood == "redirect":
            return web.Response(status=307, headers={**self.headers, "Location": "/elsewhere"})
        if self.mood == "huge":
            return web.Response(body=b"x" * 1_000_000, headers=self.headers)
        if self.mood == "garbage":
            return web.Response(text=GARBAGE, headers=self.headers)
        if self.mood in TROUBLE:
            return web.Response(status=TROUBLE[self.mood], text=GARBAGE, headers=self.headers)
        return await self.answer(request)


class AWSIssuer(Issuer):
    """`keys` are the secret key, session token and end of each access key that was given."""

    method = AuthMethod.AWS_IAM
    user = "cipher_admin"

    def __init__(self, folder: Path, tls: TlsFixture | None = None) -> None:
        super().__init__(folder, tls)
        self.keys: dict[str, tuple[str, str, float]] = {}

    def revoke(self) -> None:
        self.keys.clear()

    def new_keys(self) -> tuple[str, str, str, str]:
        """Return a new access key, secret key, session token and end."""
        access, secret = f"ASIA{secrets.token_hex(8).upper()}", secrets.token_urlsafe(30)
        # What AWS gives holds `/`, `+` and `=`.
        session, end = f"IQoJ/+{secrets.token_urlsafe(400)}==", self.now + self.lifetime
        self.keys[access] = secret, session, end
        moment = datetime.datetime.fromtimestamp(end, datetime.UTC)
        return access, secret, session, moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class STS(AWSIssuer):
    """AWS STS, which takes the cluster's tokens (IRSA)."""

    audience = "sts.amazonaws.com"
    role = "arn:aws:iam::123456789012:role/cipher-operator"

    def environ(self) -> dict[str, str]:
        return {
            "AWS_ROLE_ARN": self.role,
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(self.token_file),
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL_STS": self.url,
        }

    async def answer(self, request: web.Request) -> web.Response:
        form = await request.post()
        if (request.method, form.get("Action"), form.get("Version")) != (
            "POST",
            "AssumeRoleWithWebIdentity",
            "2011-06-15",
        ):
            return self._refusal(400, "InvalidAction")
        claims = self.cluster.read(str(form.get("WebIdentityToken")))
        if claims is None or claims["aud"] != self.audience:
            return self._refusal(400, "InvalidIdentityToken")
        if claims["exp"] < self.now:
            return self._refusal(400, "ExpiredTokenException")
        if form.get("RoleArn") != self.role or claims["sub"] != SUBJECT or not form.get("RoleSessionName"):
            return self._refusal(403, "AccessDenied")
        access, secret, session, end = self.new_keys()
        return web.Response(
            content_type="text/xml",
            text='<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">\n'
            f"<AssumeRoleWithWebIdentityResult>\n<Audience>{self.audience}</Audience>\n"
            f"<AssumedRoleUser><AssumedRoleId>AROA:x</AssumedRoleId><Arn>{self.role}/x</Arn></AssumedRoleUser>\n"
            f"<Provider>arn:aws:iam::1:oidc-provider/x</Provider>\n<Credentials>\n<AccessKeyId>{access}</AccessKeyId>\n"
            f"<SecretAccessKey>{secret}</SecretAccessKey>\n<SessionToken>{session}</SessionToken>\n"
            f"<Expiration>{end}</Expiration>\n</Credentials>\n</AssumeRoleWithWebIdentityResult>\n"
            "<ResponseMetadata><RequestId>c6104cbe</RequestId></ResponseMetadata>\n"
            "</AssumeRoleWithWebIdentityResponse>",
        )

    def _refusal(self, status: int, code: str) -> web.Response:
        return web.Response(
            status=status,
            content_type="text/xml",
            text='<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
            f"<Code>{code}</Code><Message>Not authorized for 127.0.0.1, {GARBAGE[6:20]}</Message></Error>"
            "<RequestId>1fd1964b</RequestId></ErrorResponse>",
        )


class PodIdentityAgent(AWSIssuer):
    """The agent of EKS Pod Identity: its refusals are text, with the code of EKS in brackets."""

    audience = "pods.eks.amazonaws.com"

    def environ(self) -> dict[str, str]:
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.url}/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(self.token_file),
            "AWS_REGION": REGION,
        }

    async def answer(self, request: web.Request) -> web.Response:
        claims = self.cluster.read(request.headers.get("Authorization", ""))
        if (request.method, request.path) != ("GET", "/v1/credentials"):
            return web.Response(status=404, text="404 page not found\n")
        if claims is None or claims["aud"] != self.audience:
            said = "(AccessDeniedException): Unauthorized Exception! No association was found"
            return web.Response(status=400, text=f"[b1f2]: {said}, fault: client\n")
        if claims["exp"] < self.now:
            return web.Response(status=400, text="[b1f2]: (ExpiredTokenException): Token is expired, fault: client\n")
        access, secret, session, end = self.new_keys()
        found = {"AccessKeyId": access, "SecretAccessKey": secret, "Token": session, "Expiration": end}
        return web.json_response({**found, "AccountId": "123456789012"})


class MetadataServer(Issuer):
    """GKE's. `bound` says whether IAM lets the ServiceAccount act as the service account."""

    method = AuthMethod.CLOUD_SQL_IAM
    user = "cipher@my-project.iam"
    audience = "https://www.googleapis.com/auth/sqlservice.login"
    headers: Mapping[str, str] = {"Metadata-Flavor": "Google"}

    def __init__(self, folder: Path, tls: TlsFixture | None = None) -> None:
        super().__init__(folder, tls)
        self.bound = True
        self.tokens: dict[str, tuple[str, float]] = {}

    def environ(self) -> dict[str, str]:
        return {"GCE_METADATA_HOST": f"127.0.0.1:{self.port}"}

    def revoke(self) -> None:
        self.tokens.clear()

    async def answer(self, request: web.Request) -> web.Response:
        if request.headers.get("Metadata-Flavor") != "Google":
            said = 'GKE Metadata Server encountered an error: Missing required header "Metadata-Flavor": "Google"'
            return web.Response(status=403, text=said)
        if request.path != "/computeMetadata/v1/instance/service-accounts/default/token":
            return web.Response(status=404, text="Not Found\n", headers=self.headers)
        if not self.bound:
            said = "Unable to generate access token; IAM returned 403 Forbidden: Permission denied on cipher@my-project"
            return web.Response(status=403, text=said, headers=self.headers)
        token = f"ya29.c.{secrets.token_urlsafe(120)}"
        self.tokens[token] = request.query.get("scopes", ""), self.now + self.lifetime
        answer: dict[str, Any] = {"access_token": token, "expires_in": max(0, int(self.lifetime))}
        return web.json_response({**answer, "token_type": "Bearer"}, headers=self.headers)


class Entra(Issuer):
    """The token endpoint of one tenant with one application."""

    method = AuthMethod.AZURE_ENTRA
    user = "cipher operator"
    audience = "api://AzureADTokenExchange"
    tenant, client = "72f988bf-0000-0000-0000-2d7cd011db47", "11111111-2222-3333-4444-555555555555"
    resource = "https://ossrdbms-aad.database.windows.net"

    def __init__(self, folder: Path, tls: TlsFixture | None = None) -> None:
        super().__init__(folder, tls)
        self.signer = TokenIssuer("entra")

    def revoke(self) -> None:
        self.signer = TokenIssuer("entra")

    def environ(self) -> dict[str, str]:
        return {
            "AZURE_CLIENT_ID": self.client,
            "AZURE_TENANT_ID": self.tenant,
            "AZURE_FEDERATED_TOKEN_FILE": str(self.token_file),
            "AZURE_AUTHORITY_HOST": f"{self.url}/",
        }

    async def answer(self, request: web.Request) -> web.Response:
        form = await request.post()
        if request.path != f"/{self.tenant}/oauth2/v2.0/token":
            return self._refusal(400, "invalid_request", 90002)
        if form.get("grant_type") != "client_credentials" or form.get("client_id") != self.client:
            return self._refusal(400, "unauthorized_client", 700016)
        claims = self.cluster.read(str(form.get("client_assertion")))
        if claims is None or claims["aud"] != self.audience or claims["sub"] != SUBJECT:
            return self._refusal(401, "invalid_client", 700213)
        if claims["exp"] < self.now:
            return self._refusal(401, "invalid_client", 700024)
        scope = str(form.get("scope"))
        if scope != f"{self.resource}/.default":
            return self._refusal(400, "invalid_resource", 500011)
        token = self.signer.issue(self.resource, self.client, self.now + self.lifetime, upn=self.user)
        lifetime = max(0, int(self.lifetime))
        return web.json_response({"token_type": "Bearer", "expires_in": lifetime, "access_token": token})

    def _refusal(self, status: int, error: str, number: int) -> web.Response:
        said = f"AADSTS{number}: No. Assertion Issuer: 'https://oidc.example/'. Trace ID: f0b62116"
        return web.json_response({"error": error, "error_description": said, "error_codes": [number]}, status=status)


ISSUERS: tuple[type[Issuer], ...] = (STS, PodIdentityAgent, MetadataServer, Entra)
