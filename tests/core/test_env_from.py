"""A published Secret can be taken whole as the environment of a program: pods do so with `envFrom`."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import replace

import pytest

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.names import MAX_NAME
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import SSLMode
from cipher_operator.core.connection.admin import Password
from cipher_operator.core.connection.certificates import certificate_blocks
from cipher_operator.core.connection.values import MAX_LOGIN
from cipher_operator.core.secret import (
    MAX_PASSWORD,
    MAX_VALUE,
    AppCredentials,
    AppEndpoint,
    app_secret_data,
    check_password,
)
from support.certificates import authorities

LOGIN = AppCredentials("cipher_user", Password("pw"))
ENDPOINT = AppEndpoint("db.example.com", 5432, "d", SSLMode.VERIFY_CA, ca_path="/etc/cipher/ca.crt")


def with_ca(bundle: bytes) -> AppEndpoint:
    return replace(ENDPOINT, ca=certificate_blocks(bundle))


def start(data: Mapping[str, str]) -> None:
    """Start a program as the container runtime does; OSError where the system refuses the environment."""
    subprocess.run(["/bin/true"], env=dict(data), check=True)


@pytest.mark.parametrize("count", [1, 30, 120], ids=["one CA", "a region's bundle at most", "a cloud's whole bundle"])
def test_pods_start_whatever_the_bundle(count: int) -> None:
    endpoint = with_ca(authorities(count))
    published = app_secret_data(endpoint, LOGIN)
    start(published.data)
    assert all(len(value.encode()) <= MAX_VALUE for value in published.data.values())
    if count < 120:
        assert published.data["certificates"] == endpoint.ca and published.warnings == ()
        return
    (warning,) = published.warnings
    assert "certificates" not in published.data
    assert "`certificates` is left out" in warning and "64 KiB" in warning and "`spec.app.caPath`" in warning
    assert published.data["uri"].endswith("sslrootcert=/etc/cipher/ca.crt"), "pods verify all the same"


def test_the_whole_bundle_in_the_environment_keeps_pods_from_starting() -> None:
    # What this is about: without it the test above would prove nothing.
    bundle = with_ca(authorities(120)).ca
    assert bundle is not None and len(bundle) > 140_000
    with pytest.raises(OSError, match="Argument list too long"):
        start({"certificates": bundle})


def test_the_longest_of_everything_fits() -> None:
    ca = "c" * MAX_VALUE
    endpoint = AppEndpoint(
        *("h" * 253, 65_535, "日" * (MAX_NAME // 3), SSLMode.VERIFY_FULL),
        ca=ca,
        ca_path="/" + "p" * 1_023,
        max_connections=10_000,
        channel_binding="require",
        target_session_attrs="read-write",
    )
    word = Password("日" * (MAX_PASSWORD // 3))
    check_password(word)
    data = app_secret_data(endpoint, AppCredentials("ä" * (MAX_LOGIN // 2), word)).data
    assert max(len(value.encode()) for value in data.values()) == MAX_VALUE, "only the certificates come near it"
    assert data["certificates"] == ca
    start(data)


def test_one_byte_more_of_certificates_is_left_out() -> None:
    published = app_secret_data(replace(ENDPOINT, ca="c" * (MAX_VALUE + 1)), LOGIN)
    assert "certificates" not in published.data and published.warnings


@pytest.mark.parametrize("word", ["p" * (MAX_PASSWORD + 1), "ä" * (MAX_PASSWORD // 2 + 1)], ids=["letters", "bytes"])
def test_a_password_that_is_too_long_for_it_is_refused(word: str) -> None:
    with pytest.raises(Failure) as caught:
        check_password(Password(word))
    failure = caught.value
    assert (failure.reason, failure.stage) == (Reason.INVALID_SPEC, ConditionType.ACCESS_GRANTED)
    assert str(MAX_PASSWORD) in failure.message and word not in failure.message


def test_every_key_is_the_name_of_a_variable_and_no_value_has_a_nul() -> None:
    data = app_secret_data(with_ca(authorities(1)), LOGIN).data
    assert [key for key in data if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key)] == []
    assert not any("\0" in value for value in data.values())
