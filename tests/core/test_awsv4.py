"""Tokens for RDS, compared with what botocore 1.44.8 gives for the same keys, names and time."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from cipher_operator.core.awsv4 import Credentials, rds_login_token, region_of
from cipher_operator.core.connection.password import Password

AT = datetime(2026, 11, 14, 9, 5, 7, tzinfo=UTC)
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
HOST, CHINA = "mydb.abc123.eu-west-1.rds.amazonaws.com", "MyDB.abc123.rds.cn-north-1.amazonaws.com.cn"
SIGNED = (
    "&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20261114%2F{region}%2Frds-db%2Faws4_request"
    "&X-Amz-Date=20261114T090507Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host"
)
VECTORS = {
    "keys that last": (
        (HOST, 5432, "admin", "eu-west-1", None),
        f"{HOST}:5432/?Action=connect&DBUser=admin{SIGNED}"
        "&X-Amz-Signature=ea2f72d03d6359b3c3ffac31a4aef16f534a85040f9e6d36670fd76f073e55d5",
    ),
    "a session token with / + = & ? % é, a space and ~": (
        (HOST, 5432, "cipher_admin", "eu-west-1", "IQoJb3JpZ2luX2VjE/+=tok/en+with==&?%é ~end"),
        f"{HOST}:5432/?Action=connect&DBUser=cipher_admin{SIGNED}"
        "&X-Amz-Security-Token=IQoJb3JpZ2luX2VjE%2F%2B%3Dtok%2Fen%2Bwith%3D%3D%26%3F%25%C3%A9%20~end"
        "&X-Amz-Signature=ae74dcb9a118dc61d1e016f60191e15975aea5e78f39327452ef1225f21f6984",
    ),
    "a user with a space, + and é; a host in capitals, signed in small letters": (
        (CHINA, 6432, "Jané D+oe@x.y/~%", "cn-north-1", "a b+c/d=é"),
        f"{CHINA}:6432/?Action=connect&DBUser=Jan%C3%A9%20D%2Boe%40x.y%2F~%25{SIGNED}"
        "&X-Amz-Security-Token=a%20b%2Bc%2Fd%3D%C3%A9"
        "&X-Amz-Signature=cbef07946b58b739ee4407684cc8887dbb0a7577dd6a0558d3ba9b58884ac401",
    ),
}


def _token(host: str, port: int, user: str, region: str, session: str | None, at: datetime = AT) -> Password:
    keys = Credentials("AKIDEXAMPLE", Password(SECRET), Password(session) if session is not None else None)
    return rds_login_token(keys, host=host, port=port, user=user, region=region, at=at)


@pytest.mark.parametrize(("asked", "token"), VECTORS.values(), ids=VECTORS)
def test_a_token_is_byte_by_byte_that_of_the_sdk(asked: tuple[str, int, str, str, str | None], token: str) -> None:
    assert _token(*asked).reveal() == token.format(region=asked[3])


def test_the_time_is_told_in_utc() -> None:
    there = AT.astimezone(timezone(timedelta(hours=9)))
    assert _token(HOST, 5432, "admin", "eu-west-1", None, there) == _token(HOST, 5432, "admin", "eu-west-1", None)


def test_keys_and_token_are_hidden() -> None:
    keys = Credentials("AKIDEXAMPLE", Password(SECRET), Password("session"))
    assert SECRET not in repr(keys) and "session'" not in repr(keys)
    assert str(_token(HOST, 5432, "admin", "eu-west-1", None)) == "***"


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("mydb.abc123.eu-west-1.rds.amazonaws.com", "eu-west-1"),
        ("MYDB.ABC123.EU-WEST-1.RDS.AMAZONAWS.COM.", "eu-west-1"),
        ("prod.cluster-ro-abc123.ap-southeast-2.rds.amazonaws.com", "ap-southeast-2"),
        ("px.proxy-abc123.us-gov-west-1.rds.amazonaws.com", "us-gov-west-1"),
        ("mydb.abc123.rds.us-gov-east-1.amazonaws.com", "us-gov-east-1"),
        ("mydb.abc123.us-east-1.rds-fips.amazonaws.com", "us-east-1"),
        ("mydb.abc123.rds.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("mydb.abc123.cn-northwest-1.rds.amazonaws.com.cn", "cn-northwest-1"),
        ("mydb.abc123.eusc-de-east-1.rds.amazonaws.eu", "eusc-de-east-1"),
        ("db.example.com", None),
        ("10.0.0.5", None),
        ("rds.amazonaws.com", None),
        ("mydb.abc123.rds.amazonaws.com", None),
        ("mydb.abc123.eu-west-1.rds.amazonaws.com.example.org", None),
        ("mydb.abc123.eu-west-1.rds.amazonaws.example", None),
    ],
)
def test_the_region_stands_in_the_name_of_an_endpoint(host: str, region: str | None) -> None:
    assert region_of(host) == region
