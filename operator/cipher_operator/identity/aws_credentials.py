"""AWS credentials of the operator's Pod: IRSA (STS AssumeRoleWithWebIdentity) or EKS Pod Identity.

Sources: STS API reference, AssumeRoleWithWebIdentity; "Container credential provider" in the AWS SDKs reference guide.
Keys in the environment, shared files and the node's own role are not asked: the operator has an identity of its own.
"""

import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime

from cipher_operator.core.awsv4 import Credentials
from cipher_operator.core.connection.password import Password
from cipher_operator.identity.endpoint import Caller, Endpoint, as_object, garbage
from cipher_operator.identity.environment import Environ, checked_url, is_token, read_token_file
from cipher_operator.identity.kept import Issued
from cipher_operator.identity.refusal import unavailable

AGENT_HOSTS = frozenset({"169.254.170.2", "169.254.170.23", "fd00:ec2::23"})
"""Where plain HTTP goes beside this machine: the agents of ECS and of EKS Pod Identity."""
_REGION = re.compile(r"[a-z0-9-]{1,32}")
_SUFFIXES = {"cn": "amazonaws.com.cn", "eusc": "amazonaws.eu"}
_TRUST_POLICY = (
    "Let the trust policy of the IAM role allow `sts:AssumeRoleWithWebIdentity` to the operator's ServiceAccount."
)
_PROVIDER = "Register the cluster's OIDC issuer in IAM, with the audience `sts.amazonaws.com`."


def _sts_codes(body: str) -> tuple[str, ...]:
    return tuple(re.findall(r"<Code>([^<]*)</Code>", body)[:1])


def _agent_codes(body: str) -> tuple[str, ...]:
    """Return the code in an answer of the EKS agent, a text with `(Code): `, or of ECS, which is JSON."""
    return (*re.findall(r"\((\w+)\): ", body)[:1], str(as_object(body).get("code", "")))


STS = Endpoint(
    "AWS STS",
    _sts_codes,
    unreached="Let the operator reach AWS STS on port 443, or set AWS_ENDPOINT_URL_STS.",
    remedy=_TRUST_POLICY,
    remedies={
        "InvalidIdentityToken": _PROVIDER,
        "IDPCommunicationError": "Make the cluster's OIDC issuer reachable for AWS; it is tried again.",
        "ExpiredTokenException": "Start the operator's Pods anew: the kubelet no longer renews their token.",
        "RegionDisabledException": "Turn STS on in this region, or set AWS_REGION to another one.",
    },
)
AGENT = Endpoint(
    "The EKS Pod Identity agent",
    _agent_codes,
    unreached="Install the add-on `eks-pod-identity-agent`, and let the operator reach it on port 80.",
    remedy="Make a Pod Identity association of an IAM role with the operator's ServiceAccount.",
    remedies={
        "AccessDeniedException": "Let the role's trust policy allow `sts:AssumeRole` and `sts:TagSession` to "
        "`pods.eks.amazonaws.com`.",
        "ExpiredTokenException": "Start the operator's Pods anew: the kubelet no longer renews their token.",
    },
)


class PodCredentials:
    """Fetches the credentials that the environment leads to. `wall` gives the time in seconds since 1970."""

    def __init__(self, environ: Environ, caller: Caller, wall: Callable[[], float] = time.time) -> None:
        self._environ, self._caller, self._wall = environ, caller, wall

    async def fetch(self, region: str) -> Issued[Credentials]:
        """Return credentials; `region` is where STS is asked. Raises Failure."""
        environ = self._environ
        if environ.get("AWS_WEB_IDENTITY_TOKEN_FILE") and environ.get("AWS_ROLE_ARN"):
            return await self._from_sts(region)
        if environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
            return await self._from_agent()
        raise unavailable(
            "The operator's Pod has no AWS identity: neither AWS_ROLE_ARN with AWS_WEB_IDENTITY_TOKEN_FILE nor "
            "AWS_CONTAINER_CREDENTIALS_FULL_URI is set.",
            "Annotate its ServiceAccount with `eks.amazonaws.com/role-arn`, or make a Pod Identity association; then "
            "start its Pods anew.",
        )

    async def _from_sts(self, region: str) -> Issued[Credentials]:
        form = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": self._environ["AWS_ROLE_ARN"],
            "RoleSessionName": self._environ.get("AWS_ROLE_SESSION_NAME") or "cipher-operator",
            "WebIdentityToken": read_token_file(self._environ, "AWS_WEB_IDENTITY_TOKEN_FILE"),
        }
        body = await self._caller.ask(STS, self._sts_url(region), form=form)
        # Four elements with values in which XML has nothing to escape: no parser is needed that entities could busy.
        within = re.search(r"<Credentials>(.*?)</Credentials>", body, re.DOTALL)
        found = dict(re.findall(r"<(\w+)>([^<&]*)</\1>", within[1])) if within else {}
        return self._issued(STS, found, "SessionToken")

    async def _from_agent(self) -> Issued[Credentials]:
        variable = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
        url = checked_url(self._environ[variable], variable, AGENT_HOSTS)
        headers = {}
        if self._environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"):
            headers["Authorization"] = read_token_file(self._environ, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
        body = await self._caller.ask(AGENT, url, headers=headers)
        return self._issued(AGENT, as_object(body), "Token")

    def _sts_url(self, region: str) -> str:
        if self._environ.get("AWS_ENDPOINT_URL_STS"):
            return checked_url(self._environ["AWS_ENDPOINT_URL_STS"], "AWS_ENDPOINT_URL_STS")
        region = self._environ.get("AWS_REGION") or region
        if _REGION.fullmatch(region) is None:
            raise unavailable("The AWS region is no region's name.", "Correct `spec.auth.region` or AWS_REGION.")
        return f"https://sts.{region}.{_SUFFIXES.get(region.partition('-')[0], 'amazonaws.com')}"

    def _issued(self, endpoint: Endpoint, found: Mapping[str, object], session: str) -> Issued[Credentials]:
        access, secret, token = (found.get(name) for name in ("AccessKeyId", "SecretAccessKey", session))
        try:
            end = datetime.fromisoformat(str(found.get("Expiration"))).timestamp()
        except ValueError:
            raise garbage(endpoint) from None
        if not (is_token(access) and is_token(secret) and is_token(token)):
            raise garbage(endpoint)
        credentials = Credentials(str(access), Password(str(secret)), Password(str(token)))
        return Issued(credentials, end - self._wall())
