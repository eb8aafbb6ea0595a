"""Tokens for Cloud SQL and AlloyDB: the access token of the Pod's service account, from the metadata server.

Source: Compute Engine, "View and query VM metadata", and Cloud SQL, "Log in using IAM database authentication". It asks
for the one scope that a login needs, so that what reaches the server is of no use elsewhere.
"""

import re
from urllib.parse import quote

from cipher_operator.core.connection.password import Password
from cipher_operator.identity.bearer import oauth_codes, read_access_token
from cipher_operator.identity.endpoint import Caller, Endpoint
from cipher_operator.identity.environment import Environ
from cipher_operator.identity.kept import Issued
from cipher_operator.identity.port import Login
from cipher_operator.identity.refusal import unavailable

SCOPE = "https://www.googleapis.com/auth/sqlservice.login"
FLAVOR = ("Metadata-Flavor", "Google")
"""Sent with each question, and looked for in each answer: a captive portal or another cloud does not have it."""
_HOST = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?", re.ASCII)
_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"

METADATA = Endpoint(
    "Google's metadata server",
    oauth_codes,
    unreached="Run on GKE with Workload Identity, and let the operator reach the metadata server (169.254.169.254 port "
    "80, 169.254.169.252 port 988).",
    remedy="Annotate the operator's ServiceAccount with `iam.gke.io/gcp-service-account`, and grant it "
    "`roles/iam.workloadIdentityUser` on that service account.",
    header=FLAVOR,
)


class CloudSQLTokens:
    """Asks the metadata server; one token is good for every instance that the service account may log in to."""

    name = METADATA.name

    def __init__(self, environ: Environ, caller: Caller) -> None:
        self._environ, self._caller = environ, caller

    def valid_for(self, login: Login) -> tuple[object, ...]:
        """Return what a token is bound to: nothing beside the Pod's identity."""
        return ()

    async def fetch(self, login: Login) -> Issued[Password]:
        """Return a new token. Raises Failure."""
        host = self._environ.get("GCE_METADATA_HOST") or "metadata.google.internal"
        if _HOST.fullmatch(host) is None:
            raise unavailable("GCE_METADATA_HOST is no host's name.", "Correct it, or take it off the operator's Pods.")
        url = f"http://{host}{_PATH}?scopes={quote(SCOPE, safe='')}"
        body = await self._caller.ask(METADATA, url, headers=dict([FLAVOR]))
        return read_access_token(METADATA, body)

    def distrust(self, login: Login) -> None:
        """Nothing is kept."""

    async def close(self) -> None:
        """Nothing is kept."""
