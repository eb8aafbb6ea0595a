"""What the operator takes from its Pod's environment: variables, token files, addresses, and what it does without."""

from pathlib import Path
from typing import Any

import pytest

from cipher_operator.api.choices import AuthMethod
from cipher_operator.api.failures import Failure
from cipher_operator.identity.endpoint import _public_cas
from cipher_operator.identity.port import Login
from devcluster.tls import CertificateAuthority
from identity.conftest import MakeTokens, login_of
from support.clouds import REGION, STS, Entra, Issuer, MetadataServer, PodIdentityAgent

METHODS = [AuthMethod.AWS_IAM, AuthMethod.CLOUD_SQL_IAM, AuthMethod.AZURE_ENTRA]
RDS = "mydb.abc123.ap-southeast-2.rds.amazonaws.com"


async def refused(make_tokens: MakeTokens, environ: dict[str, str], method: AuthMethod, **login: Any) -> str:
    with pytest.raises(Failure) as caught:
        asked = {"host": RDS, "port": 5432, "user": "admin", **login}
        await make_tokens(environ).token(Login(method, **asked))
    return caught.value.message


MISSING = {
    "AWS": (AuthMethod.AWS_IAM, {}, "no AWS identity: neither AWS_ROLE_ARN with", "eks.amazonaws.com/role-arn"),
    "AWS, half": (AuthMethod.AWS_IAM, {"AWS_ROLE_ARN": "arn:x"}, "no AWS identity", "Pod Identity association"),
    "AWS, empty": (AuthMethod.AWS_IAM, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": ""}, "no AWS identity", "anew"),
    "AWS, keys are not taken": (
        AuthMethod.AWS_IAM,
        {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "x"},
        "no AWS identity",
        "anew",
    ),
    "Azure": (
        AuthMethod.AZURE_ENTRA,
        {"AZURE_CLIENT_ID": "x"},
        "AZURE_TENANT_ID, AZURE_FEDERATED_TOKEN_FILE is not set",
        'azure.workload.identity/use: "true"',
    ),
}


@pytest.mark.parametrize(("method", "environ", "what", "remedy"), MISSING.values(), ids=MISSING)
async def test_a_pod_without_an_identity(
    make_tokens: MakeTokens, method: AuthMethod, environ: dict[str, str], what: str, remedy: str
) -> None:
    said = await refused(make_tokens, environ, method)
    assert what in said and remedy in said


AWS = {"AWS_ROLE_ARN": "arn:x", "AWS_WEB_IDENTITY_TOKEN_FILE": "{file}", "AWS_REGION": REGION}
AGENT = {
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9/",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "{file}",
}
AZURE = {"AZURE_CLIENT_ID": "x", "AZURE_TENANT_ID": "x", "AZURE_FEDERATED_TOKEN_FILE": "{file}"}


@pytest.mark.parametrize(
    ("method", "environ"),
    [(AuthMethod.AWS_IAM, AWS), (AuthMethod.AWS_IAM, AGENT), (AuthMethod.AZURE_ENTRA, AZURE)],
    ids=["IRSA", "Pod Identity", "Azure"],
)
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "cannot be read (FileNotFoundError)"),
        (b"", "holds no token"),
        (b"\n", "holds no token"),
        (b"header.body.signature\r\nX-Injected: 1", "holds no token"),
        (b"\xff\xfe", "cannot be read (UnicodeDecodeError)"),
    ],
    ids=["missing", "empty", "a new line", "two lines", "not text"],
)
async def test_a_token_file_that_is_none(
    make_tokens: MakeTokens,
    tmp_path: Path,
    method: AuthMethod,
    environ: dict[str, str],
    content: bytes | None,
    what: str,
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    said = await refused(make_tokens, {name: value.format(file=file) for name, value in environ.items()}, method)
    assert what in said and "TOKEN_FILE" in said and str(tmp_path) not in said


async def test_a_new_line_at_the_end_of_the_file_is_not_sent(issuer: Issuer, make_tokens: MakeTokens) -> None:
    issuer.token_file.write_text(issuer.token_file.read_text() + "\n")
    await make_tokens(issuer.environ()).token(login_of(issuer))


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1.example.com/",
        "http://localhost@example.com/",
        "http://10.0.0.1/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "//127.0.0.1/",
        "https://",
        "http://[::1",
        "http://127.0.0.1:x/",
        "http://127.0.0.1/ HTTP/1.1",
    ],
)
@pytest.mark.parametrize(
    ("method", "environ"),
    [
        (AuthMethod.AWS_IAM, {**AWS, "AWS_ENDPOINT_URL_STS": "{url}"}),
        (AuthMethod.AWS_IAM, {**AGENT, "AWS_CONTAINER_CREDENTIALS_FULL_URI": "{url}"}),
        (AuthMethod.AZURE_ENTRA, {**AZURE, "AZURE_AUTHORITY_HOST": "{url}"}),
    ],
    ids=["STS", "agent", "Entra"],
)
async def test_a_token_is_not_sent_in_the_clear_nor_elsewhere(
    make_tokens: MakeTokens, tmp_path: Path, method: AuthMethod, environ: dict[str, str], url: str
) -> None:
    (tmp_path / "token").write_text("a.b.c")
    given = {name: value.format(file=tmp_path / "token", url=url) for name, value in environ.items()}
    assert "is not one that a token may be sent to. Take `https`" in await refused(make_tokens, given, method)


@pytest.mark.parametrize("host", ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]", "127.0.0.2", "[::1]"])
async def test_the_agents_of_aws_are_asked_over_plain_http(
    make_tokens: MakeTokens, tmp_path: Path, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def ask(self: object, endpoint: object, url: str, **_: object) -> str:
        asked.append(url)
        return ""

    monkeypatch.setattr("cipher_operator.identity.endpoint.Caller.ask", ask)
    (tmp_path / "token").write_text("a.b.c")
    environ = {name: value.format(file=tmp_path / "token") for name, value in AGENT.items()}
    url = f"http://{host}/v1/credentials"
    await refused(make_tokens, {**environ, "AWS_CONTAINER_CREDENTIALS_FULL_URI": url}, AuthMethod.AWS_IAM)
    assert asked == [url]


@pytest.mark.parametrize(
    ("region", "url"),
    [
        ("eu-west-1", "https://sts.eu-west-1.amazonaws.com"),
        ("us-gov-west-1", "https://sts.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "https://sts.cn-north-1.amazonaws.com.cn"),
        ("eusc-de-east-1", "https://sts.eusc-de-east-1.amazonaws.eu"),
    ],
)
async def test_sts_is_that_of_the_region(
    make_tokens: MakeTokens, tmp_path: Path, region: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def ask(self: object, endpoint: object, url: str, **_: object) -> str:
        asked.append(url)
        return ""

    monkeypatch.setattr("cipher_operator.identity.endpoint.Caller.ask", ask)
    (tmp_path / "token").write_text("a.b.c")
    environ = {name: value.format(file=tmp_path / "token") for name, value in AWS.items()}
    await refused(make_tokens, environ | {"AWS_REGION": region}, AuthMethod.AWS_IAM)
    assert asked == [url]


@pytest.mark.parametrize("region", ["eu west", "evil.example/", "a@b", "x" * 40])
async def test_what_is_no_region_makes_no_host(make_tokens: MakeTokens, tmp_path: Path, region: str) -> None:
    (tmp_path / "token").write_text("a.b.c")
    environ = {name: value.format(file=tmp_path / "token") for name, value in AWS.items()}
    assert "no region's name" in await refused(make_tokens, environ | {"AWS_REGION": region}, AuthMethod.AWS_IAM)


@pytest.mark.parametrize("host", ["metadata/evil", "a@b", "a b", "host:port", "x?y"])
async def test_what_is_no_host_is_not_asked(make_tokens: MakeTokens, host: str) -> None:
    said = await refused(make_tokens, {"GCE_METADATA_HOST": host}, AuthMethod.CLOUD_SQL_IAM)
    assert "GCE_METADATA_HOST is no host's name" in said


@pytest.mark.parametrize("tenant", ["../common", "a/b", "a b", "?"])
async def test_what_is_no_tenant_makes_no_path(make_tokens: MakeTokens, tenant: str) -> None:
    said = await refused(make_tokens, AZURE | {"AZURE_TENANT_ID": tenant}, AuthMethod.AZURE_ENTRA)
    assert "AZURE_TENANT_ID is no tenant's id" in said


@pytest.mark.parametrize(
    ("spec", "environment", "host", "region"),
    [
        ("us-east-2", REGION, RDS, "us-east-2"),
        (None, REGION, RDS, REGION),
        (None, None, RDS, "ap-southeast-2"),
        (None, None, "mydb.abc123.rds.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        (None, None, "db.example.com", None),
    ],
    ids=["the spec", "AWS_REGION", "the host's name", "the host's name in China", "nothing tells it"],
)
async def test_the_region_of_the_server(
    make_tokens: MakeTokens, tmp_path: Path, spec: str | None, environment: str | None, host: str, region: str | None
) -> None:
    async with STS(tmp_path) as sts:
        environ = sts.environ()
        del environ["AWS_REGION"]
        tokens = make_tokens(environ | ({"AWS_REGION": environment} if environment else {}))
        login = Login(AuthMethod.AWS_IAM, host, 5432, "admin", region=spec)
        if region is None:
            with pytest.raises(Failure, match=r"AWS region is not known: .*`spec\.auth\.region`"):
                await tokens.token(login)
        else:
            assert f"%2F{region}%2Frds-db%2F" in (await tokens.token(login)).reveal()


async def test_irsa_comes_before_pod_identity(make_tokens: MakeTokens, tmp_path: Path) -> None:
    for name in ("sts", "agent"):
        (tmp_path / name).mkdir()
    async with STS(tmp_path / "sts") as sts, PodIdentityAgent(tmp_path / "agent") as agent:
        await make_tokens(agent.environ() | sts.environ()).token(login_of(sts))
        assert (sts.asked, agent.asked) == (1, 0)


async def test_what_a_token_is_kept_for(issuer: Issuer, make_tokens: MakeTokens) -> None:
    """RDS' are for one login at one endpoint, with one set of credentials; the others' for the identity."""
    tokens = make_tokens(issuer.environ())
    logins = [Login(issuer.method, host, port, user) for host in ("a", "b") for port in (1, 2) for user in ("x", "y")]
    given = {(await tokens.token(login)).reveal() for login in logins}
    assert len(given) == (8 if issuer.method is AuthMethod.AWS_IAM else 1)
    assert issuer.asked == 1


async def test_a_scope_of_another_cloud_has_its_own_token(make_tokens: MakeTokens, tmp_path: Path) -> None:
    async with Entra(tmp_path) as entra:
        tokens = make_tokens(entra.environ())
        first = await tokens.token(login_of(entra))
        entra.resource = "https://ossrdbms-aad.database.usgovcloudapi.net"
        other = await tokens.token(login_of(entra, scope=f"{entra.resource}/.default"))
        assert first != other and entra.asked == 2


async def test_a_token_of_rds_is_used_for_ten_minutes_and_never_beyond_its_credentials(
    make_tokens: MakeTokens, tmp_path: Path
) -> None:
    async with STS(tmp_path) as sts:
        sts.seconds = 750.0
        tokens = make_tokens(sts.environ(), clock=lambda: sts.late, wall=lambda: sts.now)
        first = await tokens.token(login_of(sts))
        sts.late = 400.0
        assert await tokens.token(login_of(sts)) == first
        sts.late, sts.mood = 600.0, "down"
        # The credentials still have 150 s: a token that is signed with them has no more.
        second = await tokens.token(login_of(sts))
        assert second != first
        sts.late = 685.0
        assert await tokens.token(login_of(sts)) == second
        sts.late = 690.5
        with pytest.raises(Failure, match="AWS STS refused: HTTP 503"):
            await tokens.token(login_of(sts))


async def test_a_certificate_counts_where_the_url_has_https(
    make_tokens: MakeTokens,
    tmp_path: Path,
    certificate_authority: CertificateAuthority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with STS(tmp_path, certificate_authority.server()) as sts:
        with pytest.raises(Failure, match="could not be asked \\(ClientConnectorCertificateError\\)"):
            await make_tokens(sts.environ()).token(login_of(sts))
        assert sts.asked == 0
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate_authority.certificate))
        await make_tokens(sts.environ()).token(login_of(sts))


def test_a_machine_without_public_cas_has_those_of_certifi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert len(_public_cas().get_ca_certs()) > 50


async def test_nothing_is_opened_before_a_token_is_asked_for(make_tokens: MakeTokens) -> None:
    assert make_tokens({})._caller._session is None


async def test_the_metadata_server_is_asked_for_the_one_scope(make_tokens: MakeTokens, tmp_path: Path) -> None:
    async with MetadataServer(tmp_path) as server:
        token = await make_tokens(server.environ()).token(login_of(server))
        ((scope, _),) = [server.tokens[token.reveal()]]
        assert scope == "https://www.googleapis.com/auth/sqlservice.login"
