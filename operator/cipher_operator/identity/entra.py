"""Tokens for Azure Database for PostgreSQL: Entra's, for the ServiceAccount token of the Pod (workload identity).

Source: Microsoft identity platform, "OAuth 2.0 client credentials flow", third case: a federated credential.
"""

import re

from cipher_operator.core.connection.password import Password
from cipher_operator.identity.bearer import oauth_codes, read_access_token
from cipher_operator.identity.endpoint import Caller, Endpoint
from cipher_operator.identity.environment import Environ, checked_url, read_token_file
from cipher_operator.identity.kept import Issued
from cipher_operator.identity.port import Login
from cipher_operator.identity.refusal import unavailable

SCOPE = "https://ossrdbms-aad.database.windows.net/.default"
"""Of the public cloud; sovereign clouds have another."""
_AUTHORITY = "https://login.microsoftonline.com"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_TENANT = re.compile(r"[A-Za-z0-9.-]{1,253}")
_NEEDED = ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE")
_FEDERATION = (
    "Give the managed identity a federated credential with the cluster's OIDC issuer, the subject "
    "`system:serviceaccount:<namespace>:<name>` of the operator, and the audience `api://AzureADTokenExchange`."
)

ENTRA = Endpoint(
    "Microsoft Entra",
    oauth_codes,
    unreached="Let the operator reach Microsoft Entra on port 443, or correct AZURE_AUTHORITY_HOST.",
    remedy=_FEDERATION,
    remedies={
        "AADSTS700016": "Correct the client id in the annotation `azure.workload.identity/client-id`, and start the "
        "operator's Pods anew.",
        "AADSTS90002": "Correct the tenant id (`azure.workload.identity/tenant-id`), and start the operator's Pods "
        "anew.",
        "AADSTS700024": "Start the operator's Pods anew: the kubelet no longer renews their token.",
        "AADSTS500011": "Correct `spec.auth.scope`: this cloud does not know it.",
        "AADSTS70011": "Correct `spec.auth.scope`: it ends with `/.default`.",
        "AADSTS1002012": "Correct `spec.auth.scope`: it ends with `/.default`.",
    },
)


class EntraTokens:
    """Asks Entra; a token is good for every server that the identity may log in to."""

    name = ENTRA.name

    def __init__(self, environ: Environ, caller: Caller) -> None:
        self._environ, self._caller = environ, caller

    def valid_for(self, login: Login) -> tuple[object, ...]:
        """Return what a token is bound to: the cloud that its scope names."""
        return (login.scope or SCOPE,)

    async def fetch(self, login: Login) -> Issued[Password]:
        """Return a new token. Raises Failure."""
        missing = [name for name in _NEEDED if not self._environ.get(name)]
        if missing:
            raise unavailable(
                f"The operator's Pod has no Azure identity: {', '.join(missing)} is not set.",
                "Annotate its ServiceAccount with `azure.workload.identity/client-id`, label its Pods "
                '`azure.workload.identity/use: "true"`, and start them anew.',
            )
        tenant = self._environ["AZURE_TENANT_ID"]
        if _TENANT.fullmatch(tenant) is None:
            raise unavailable("AZURE_TENANT_ID is no tenant's id.", ENTRA.remedies["AADSTS90002"])
        authority = checked_url(self._environ.get("AZURE_AUTHORITY_HOST") or _AUTHORITY, "AZURE_AUTHORITY_HOST")
        form = {
            "grant_type": "client_credentials",
            "client_id": self._environ["AZURE_CLIENT_ID"],
            "scope": login.scope or SCOPE,
            "client_assertion_type": _ASSERTION,
            "client_assertion": read_token_file(self._environ, "AZURE_FEDERATED_TOKEN_FILE"),
        }
        body = await self._caller.ask(ENTRA, f"{authority}/{tenant}/oauth2/v2.0/token", form=form)
        return read_access_token(ENTRA, body)

    def distrust(self, login: Login) -> None:
        """Nothing is kept."""

    async def close(self) -> None:
        """Nothing is kept."""
