"""docs/providers: each guide, carried out from its text alone, against a server shaped like the provider's."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from cipher_operator.api.reasons import Reason
from devcluster import PostgresServer
from devcluster.tls import CertificateAuthority
from support.admins import SHAPES, Shape
from support.guides import FOLDER, Guide, Object
from support.provision import CIPHER_START
from support.public_roots import public_roots
from support.runs import Runs
from support.secret_shapes import SHAPES as TOOLS
from support.secret_shapes import Login
from support.supavisor import Supavisor, resolve_to_loopback

REF = "abcdefghijklmnopqrst"
ROOT = "who_runs_the_cloud"
"""The superuser, whom no customer is: the guide's administrator has its own name."""
RDS = "mydb.abcdefghijkl.eu-central-1.rds.amazonaws.com"
AURORA = "shop.cluster-abcdefghijkl.eu-central-1.rds.amazonaws.com"
POOLER, DIRECT = Supavisor.host, f"db.{REF}.supabase.co"
HEROKU = "ec2-1-2-3-4.eu-west-1.compute.amazonaws.com"
NEON = "ep-cool-name-a1b2c3d4.eu-central-1.aws.neon.tech"
TLS_ONLY = "hostssl all all 127.0.0.1/32 scram-sha-256\n"


@dataclass(frozen=True)
class Case:
    """A way through a guide. `secret` and `storage` count its Secrets and storages, where it shows several."""

    page: str
    shape: str
    host: str
    user: str
    database: str | None = None
    """What the provider's project comes with."""
    storage: int = 0
    secret: int = 0
    public: bool = False
    """The provider's certificates are of a public authority."""
    tool: str | None = None
    """Whose Secrets they are, where the reader creates none."""
    pooler: bool = False
    changes: Mapping[str, str] = field(default_factory=dict)
    """How the port stands in the text."""
    major: int = 16


PORT = {":5432/": ":{port}/"}
CASES = {
    "rds": Case("rds", "rds", RDS, "postgres", changes=PORT),
    "rds, the password kept by RDS": Case("rds", "rds", RDS, "postgres", storage=1, tool="rds-managed"),
    "aurora": Case("aurora", "rds", AURORA, "postgres", changes=PORT, major=17),
    "supabase, session pooler": Case(
        "supabase", "supabase", POOLER, "postgres", "postgres", pooler=True, changes={":5432/": ":{pooler}/"}, major=15
    ),
    "supabase, direct": Case("supabase", "supabase", DIRECT, "postgres", "postgres", secret=1, changes=PORT, major=17),
    "supabase, direct with pods at the pooler": Case(
        *("supabase", "supabase", DIRECT, "postgres", "postgres"),
        secret=1,
        storage=1,
        pooler=True,
        changes={**PORT, "port: 5432": "port: {pooler}"},
        major=15,
    ),
    "cloud sql": Case(
        *("cloud-sql", "cloudsql", "my-project:my-instance", "postgres"),
        changes={"STORAGE_DATABASE_PORT=5432": "STORAGE_DATABASE_PORT={port}", "10.20.30.40": "127.0.0.1"},
    ),
    "heroku": Case("heroku", "heroku", HEROKU, "uabcdefghijklm", "dabcdefghijkl", changes=PORT),
    "azure": Case("azure", "azure", "prod.postgres.database.azure.com", "cipheradmin", public=True, changes=PORT),
    "neon": Case(
        "neon", "neon", NEON, "neondb_owner", "neondb", public=True, changes={NEON: f"{NEON}:{{port}}"}, major=17
    ),
    "cloudnativepg": Case("cloudnativepg", "superuser", "pg-rw.ns.svc", "postgres", tool="cnpg", major=18),
    "own server": Case("own-server", "createrole", "db.example.com", "cipher_admin", changes=PORT, major=14),
}
_by_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def test_every_guide_is_tried() -> None:
    """What it does not list is a page of links to the examples, which have tests of their own."""
    assert {path.stem for path in FOLDER.glob("*.md")} - {"other-tools"} == {case.page for case in CASES.values()}


def give(case: Case, server: PostgresServer) -> None:
    """Make the administrator that the guide names, and what the provider's project comes with."""
    shape: Shape = next(each for each in SHAPES if each.name == case.shape)

    def theirs(statement: str) -> str:
        return statement.replace(shape.admin, f'"{case.user}"')

    for statement in shape.roles:
        server.execute(theirs(statement))
    server.execute(f"ALTER ROLE \"{case.user}\" PASSWORD 'PASSWORD'")
    for statement in shape.existing if case.database else ():
        server.execute(theirs(statement).format(db=f'"{case.database}"'))


@pytest.fixture
async def run(
    request: pytest.FixtureRequest,
    case: Case,
    certificate_authority: CertificateAuthority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[tuple[Runs, Guide]]:
    """The operator's runs, with all made that the guide has its reader make; and the guide."""
    authority = certificate_authority
    tls = authority.cloud_sql(case.host) if ":" in case.host else authority.for_hosts(case.host, POOLER)
    with ExitStack() as stack:
        # The stand-in for the pooler itself goes on without TLS.
        hba = None if case.pooler else TLS_ONLY
        server = stack.enter_context(PostgresServer(case.major, superuser=ROOT, tls=tls, hba=hba))
        pooler = stack.enter_context(Supavisor(server, REF, tls)) if case.pooler else None
        resolve_to_loopback(monkeypatch, case.host, POOLER)
        if case.public:
            monkeypatch.setenv("SSL_CERT_FILE", str(public_roots(tmp_path / "roots.crt", authority.certificate)))
        give(case, server)
        ports = {"port": server.port, "pooler": pooler.port if pooler else 0}
        guide = Guide.of(case.page).told({old: new.format_map(ports) for old, new in case.changes.items()})
        runs = Runs(server, "none")
        for each in objects(case, guide, server, authority):
            if each.kind == "Secret":
                runs.api.secret(each.name, each.data)
            else:
                runs.api.configmap(each.name, each.data)
        yield runs, guide
        await runs.close()


def objects(case: Case, guide: Guide, server: PostgresServer, authority: CertificateAuthority) -> list[Object]:
    """Return the guide's Secrets and ConfigMaps, with the CA in the files that it fetches; or those of the tool."""
    ca = authority.certificate.read_text()
    created = guide.created({"rds-ca.pem": ca, "server-ca.pem": ca})
    if case.tool is None:
        logins = [each for each in created if each.name == "pg-admin"]
        return [logins[case.secret], *(each for each in created if each.name != "pg-admin")]
    login = Login(case.host, server.port, case.user, "PASSWORD", "postgres")
    name = guide.manifests("CipherStorage")[case.storage]["spec"]["connection"]["secretRef"]["name"]
    written = {key: value.decode() for key, value in TOOLS[case.tool](login).items()}
    return [*created, Object("Secret", name, written), Object("Secret", "pg-ca", {"ca.crt": ca, "ca.key": "private"})]


def spec_of(case: Case, guide: Guide, server: PostgresServer) -> dict[str, Any]:
    spec: dict[str, Any] = guide.manifests("CipherStorage")[case.storage]["spec"]
    if "host" in spec["connection"]:
        spec["connection"]["port"] = server.port
    return spec


@pytest.mark.lengthy
@_by_case
async def test_a_guide_leads_to_ready_and_to_a_login_that_works(
    case: Case, run: tuple[Runs, Guide], certificate_authority: CertificateAuthority, tmp_path: Path
) -> None:
    runs, guide = run
    runs.api.storage("chat", spec_of(case, guide, runs.server))
    await runs.until(lambda: runs.condition().get("status") == "True")

    uri = runs.secret()["uri"]
    for path in ("/etc/cipher/ca.crt", "/etc/ssl/certs/ca-certificates.crt"):
        uri = uri.replace(path.replace("/", "%2F"), str(certificate_authority.certificate)).replace(
            path, str(certificate_authority.certificate)
        )
    with psycopg.connect(uri, hostaddr="127.0.0.1", autocommit=True) as pod:
        for statement in CIPHER_START:
            pod.execute(statement)
        assert pod.pgconn.ssl_in_use
    writes = runs.writes()
    runs.ask()
    await runs.run()
    assert runs.says() == ("True", "Ready")
    assert runs.writes() - writes <= 2, "the request is noted; nothing else changes"
    verified = urlsplit(uri).query.split("sslmode=")[1].split("&")[0]
    assert verified == spec_of(case, guide, runs.server)["connection"]["sslMode"]


def test_every_reason_that_a_guide_explains_is_one() -> None:
    for path in FOLDER.glob("*.md"):
        rows = re.findall(r"^\| (`\w+`.*?) \|", path.read_text().split("## When it is not Ready")[-1], re.MULTILINE)
        named = {word for row in rows for word in re.findall(r"`([A-Z][a-z]\w+)`", row)}
        assert named <= {reason.value for reason in Reason}, path.stem
        assert named or path.stem == "other-tools"
