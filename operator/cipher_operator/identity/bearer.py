"""An OAuth 2.0 answer with an access token (RFC 6749, section 5.1)."""

from cipher_operator.core.connection.password import Password
from cipher_operator.identity.endpoint import Endpoint, as_object, garbage
from cipher_operator.identity.environment import is_token
from cipher_operator.identity.kept import Issued


def read_access_token(endpoint: Endpoint, body: str) -> Issued[Password]:
    """Return the token of an answer and the seconds that it says are left. Raises Failure where it holds none."""
    answer = as_object(body)
    token, seconds = answer.get("access_token"), answer.get("expires_in")
    # Older answers of Azure have the number as a text.
    if not is_token(token) or not str(seconds).isdecimal() or len(str(seconds)) > 9:
        raise garbage(endpoint)
    return Issued(Password(str(token)), float(str(seconds)))


def oauth_codes(body: str) -> tuple[str, ...]:
    """Return Microsoft's numbers, as its documents write them, and OAuth's own word for an error."""
    answer = as_object(body)
    numbers = answer.get("error_codes")
    listed = numbers if isinstance(numbers, list) else []
    return (*(f"AADSTS{each}" for each in listed[:2] if isinstance(each, int)), str(answer.get("error", "")))
