"""The command by which anybody verifies an image: that the release workflow of its repository signed it, at a tag."""

from __future__ import annotations

ISSUER = "https://token.actions.githubusercontent.com"
WORKFLOW = r"\.github/workflows/release\.yaml"


def command(image: str, repository: str) -> str:
    """Return it, for a shell. `image` is with its digest, `repository` as in OWNER/NAME; both may be variables."""
    return (
        f"cosign verify {image} \\\n"
        f"  --certificate-oidc-issuer {ISSUER} \\\n"
        f'  --certificate-identity-regexp "^https://github\\.com/{repository}/{WORKFLOW}@refs/tags/v"'
    )
