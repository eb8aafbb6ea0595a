"""What those who issue tokens answer, and what is made of it: over real HTTP, in the protocols of the clouds."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.identity.endpoint import TIMEOUT
from identity.conftest import PATIENCE, MakeTokens, login_of
from support.clouds import GARBAGE, STS, Entra, Issuer, MetadataServer, PodIdentityAgent
from support.web_tokens import TokenIssuer

NAMES: dict[type[Issuer], str] = {
    STS: "AWS STS",
    PodIdentityAgent: "The EKS Pod Identity agent",
    MetadataServer: "Google's metadata server",
    Entra: "Microsoft Entra",
}


async def refusal(issuer: Issuer, make_tokens: MakeTokens, **environ: str) -> str:
    """Return what is said where no token is given; it must give nothing away."""
    tokens = make_tokens({**issuer.environ(), **environ}, timeout=PATIENCE if issuer.mood == "slow" else TIMEOUT)
    with pytest.raises(Failure) as refused:
        await tokens.token(login_of(issuer))
    failure = refused.value
    assert (failure.reason, failure.stage) == (Reason.IDENTITY_UNAVAILABLE, ConditionType.CONNECTED)
    given = [issuer.token_file.read_text(), "hunter2", "html", "localhost", "127.0.0.1", str(issuer.port), issuer.user]
    for secret in [*given, "Trace ID", "oidc.example"]:
        assert secret not in failure.message
    assert failure.__cause__ is None and failure.__context__ is None, "a traceback would show the host"
    assert failure.message.endswith(".")
    return failure.message


async def test_a_token_is_asked_for_once_and_kept(
    issuer: Issuer, make_tokens: MakeTokens, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = make_tokens(issuer.environ())
    with caplog.at_level(logging.DEBUG):
        first = await tokens.token(login_of(issuer))
        assert await tokens.token(login_of(issuer)) == first
    assert issuer.asked == 1
    assert len(first.reveal()) > 100 and first.reveal() not in caplog.text
    assert issuer.token_file.read_text() not in caplog.text


# The metadata server knows the Pod by its address.
@pytest.mark.parametrize("issuer", [STS, PodIdentityAgent, Entra], indirect=True)
async def test_the_pods_own_token_is_read_anew(issuer: Issuer, make_tokens: MakeTokens) -> None:
    issuer.mount(seconds=-10)
    await refusal(issuer, make_tokens)
    issuer.mount()
    await make_tokens(issuer.environ()).token(login_of(issuer))


MOODS = {
    "slow": "{name} did not answer within 2 s.",
    "garbage": "cannot be read: it holds no token.",
    "redirect": "{name} answered with a redirect, which is not followed.",
    "huge": "{name} answered with more than 64 KiB.",
    "down": "{name} refused: HTTP 503. That is no matter of rights: it is tried again",
    "busy": "{name} refused: HTTP 429. That is no matter of rights: it is tried again",
    "expired": "gave something that ends within",
}


@pytest.mark.parametrize("mood", MOODS)
async def test_an_issuer_that_is_not_itself(issuer: Issuer, make_tokens: MakeTokens, mood: str) -> None:
    issuer.mood = mood
    said = await refusal(issuer, make_tokens)
    assert MOODS[mood].format(name=NAMES[type(issuer)]) in said
    assert issuer.strayed == 0
    assert GARBAGE not in said


def unbound(issuer: MetadataServer) -> None:
    issuer.bound = False


REFUSALS: dict[str, tuple[type[Issuer], Callable[..., object] | None, dict[str, str], str, str]] = {
    "STS, the ServiceAccount's token has ended": (
        STS,
        lambda issuer: issuer.mount(seconds=-1),
        {},
        "ExpiredTokenException, HTTP 400",
        "Start the operator's Pods anew",
    ),
    "STS, a token for somebody else": (
        STS,
        lambda issuer: issuer.mount(audience="vault"),
        {},
        "InvalidIdentityToken, HTTP 400",
        "OIDC issuer in IAM",
    ),
    "STS, a token of another cluster": (
        STS,
        lambda issuer: issuer.mount(cluster=TokenIssuer("another")),
        {},
        "InvalidIdentityToken, HTTP 400",
        "OIDC issuer in IAM",
    ),
    "STS, a role that does not trust us": (
        STS,
        None,
        {"AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/another"},
        "AccessDenied, HTTP 403",
        "trust policy",
    ),
    "EKS, no association": (
        PodIdentityAgent,
        lambda issuer: issuer.mount(audience="vault"),
        {},
        "AccessDeniedException, HTTP 400",
        "`sts:TagSession`",
    ),
    "EKS, the ServiceAccount's token has ended": (
        PodIdentityAgent,
        lambda issuer: issuer.mount(seconds=-1),
        {},
        "ExpiredTokenException, HTTP 400",
        "Start the operator's Pods anew",
    ),
    "GKE, not bound to a service account": (
        MetadataServer,
        unbound,
        {},
        "HTTP 403",
        "roles/iam.workloadIdentityUser",
    ),
    "Entra, no federated credential": (
        Entra,
        lambda issuer: issuer.mount(cluster=TokenIssuer("another")),
        {},
        "AADSTS700213, invalid_client, HTTP 401",
        "federated credential",
    ),
    "Entra, the ServiceAccount's token has ended": (
        Entra,
        lambda issuer: issuer.mount(seconds=-1),
        {},
        "AADSTS700024, invalid_client, HTTP 401",
        "Start the operator's Pods anew",
    ),
    "Entra, no such application": (
        Entra,
        None,
        {"AZURE_CLIENT_ID": "66666666"},
        "AADSTS700016, unauthorized_client, HTTP 400",
        "`azure.workload.identity/client-id`",
    ),
    "Entra, no such tenant": (
        Entra,
        None,
        {"AZURE_TENANT_ID": "nowhere.example"},
        "AADSTS90002, invalid_request, HTTP 400",
        "tenant id",
    ),
}


@pytest.mark.parametrize(("kind", "change", "environ", "code", "remedy"), REFUSALS.values(), ids=REFUSALS)
async def test_a_refusal_has_the_clouds_own_code(
    tmp_path: Path,
    make_tokens: MakeTokens,
    kind: type[Issuer],
    change: Callable[..., object] | None,
    environ: dict[str, str],
    code: str,
    remedy: str,
) -> None:
    async with kind(tmp_path) as running:
        if change is not None:
            change(running)
        said = await refusal(running, make_tokens, **environ)
    assert f"{NAMES[kind]} refused: {code}." in said
    assert remedy in said


async def test_a_scope_that_the_cloud_does_not_know(tmp_path: Path, make_tokens: MakeTokens) -> None:
    async with Entra(tmp_path) as entra:
        tokens = make_tokens(entra.environ())
        with pytest.raises(Failure, match=r"AADSTS500011, .*`spec\.auth\.scope`"):
            await tokens.token(login_of(entra, scope="https://ossrdbms-aad.database.chinacloudapi.cn/.default"))


async def test_nobody_answers(issuer: Issuer, make_tokens: MakeTokens) -> None:
    await issuer._runner.cleanup()
    said = await refusal(issuer, make_tokens)
    assert f"{NAMES[type(issuer)]} could not be asked (Client" in said


@pytest.mark.parametrize("headers", [{}, {"Metadata-Flavor": "Another"}], ids=["no header", "another"])
async def test_what_is_no_metadata_server_is_not_believed(
    tmp_path: Path, make_tokens: MakeTokens, headers: dict[str, str]
) -> None:
    async with MetadataServer(tmp_path) as server:
        server.headers = headers
        said = await refusal(server, make_tokens)
    assert "What answers in place of Google's metadata server is something else (Metadata-Flavor is missing)." in said


async def test_proxies_of_the_environment_do_not_count(
    issuer: Issuer, make_tokens: MakeTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    await make_tokens(issuer.environ()).token(login_of(issuer))
