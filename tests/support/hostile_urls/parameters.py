"""Query parameters: those that act on the operator's machine or identity, and values that are none."""

from support.hostile_urls.parts import DATABASE, Refused, at_host

ODD = "a query parameter with an unusual name that is not allowed. Remove it"


def _query(text: str) -> str:
    return at_host(f"/{DATABASE}?{text}")


def _named(name: str, value: str = "zq") -> Refused:
    return (name, _query(f"sslmode=require&{name}={value}"), f"a query parameter `{name}` that is not allowed. Remove")


PARAMETERS: list[Refused] = [
    # libpq, with the value that would hurt.
    *(
        (f"{name}={value}", _query(f"{name}={value}"), f"a query parameter `{name}` that is not allowed. Remove it")
        for name, value in (
            ("sslkeylogfile", "/tmp/zq"),
            ("options", "-crole%3Dpg_monitor"),
            ("options", "endpoint%3Dep-zq"),
            ("service", "zq"),
            ("servicefile", "/proc/self/environ"),
            ("passfile", "/etc/shadow"),
            ("sslrootcert", "system"),
            ("sslrootcert", "/proc/self/environ"),
            ("sslkey", "engine:zq"),
            ("sslpassword", "zq"),
            ("host", "/tmp"),
            ("host", "169.254.169.254"),
            ("hostaddr", "127.0.0.1"),
            ("port", "22"),
            ("user", "postgres"),
            ("password", "zq"),
            ("dbname", "postgresql://127.0.0.1/zq"),
            ("replication", "database"),
            ("gssencmode", "require"),
            ("requirepeer", "root"),
            ("oauth_issuer", "http://169.254.169.254/"),
            ("load_balance_hosts", "random"),
        )
    ),
    _named("max_protocol_version", "latest"),
    _named("ssl_max_protocol_version", "TLSv1"),
    _named("oauth_client_secret"),
    _named("oauth_scope"),
    _named("sslsni", "0"),
    _named("tcp_user_timeout", "0"),
    _named("authtype"),
    _named("tty"),
    _named("sslnegotiate", "direct"),
    # JDBC, which loads the classes that are named.
    _named("socketFactory", "org.example.Zq"),
    _named("sslfactory", "org.example.Zq"),
    _named("authenticationPluginClassName", "org.example.Zq"),
    _named("loggerFile", "/tmp/zq"),
    _named("currentSchema"),
    _named("targetServerType", "secondary"),
    # Other clients.
    _named("search_path"),
    _named("statement_timeout", "0"),
    _named("default_query_exec_mode", "exec"),
    _named("pool_max_conns", "9"),
    _named("prepared_statements", "false"),
    _named("sslaccept", "accept_invalid_certs"),
    _named("sslidentity", "/zq.p12"),
    _named("conn_max_age", "0"),
    _named("constructor"),
    # Spellings of what is allowed.
    _named("SslMode", "disable"),
    _named("Sslmode", "disable"),
    _named("ssl-mode", "disable"),
    _named("ssl_mode", "disable"),
    _named("SSL", "true"),
    _named("Application_Name"),
    ("encoded name of host", _query("%68ost=zq"), "a query parameter `host` that"),
    ("encoded name of hostaddr", _query("host%61ddr=127.0.0.1"), "a query parameter `hostaddr` that"),
    ("encoded name of options", _query("%6f%70%74%69%6f%6e%73=zq"), "a query parameter `options` that"),
    ("host twice", _query("host=a&host=b"), "a query parameter `host` that"),
    ("host behind something allowed", _query("sslmode=require&host=zq"), "a query parameter `host` that"),
    ("name encoded twice", _query("ssl%256Dode=require"), ODD),
    ("& written for HTML", _query("sslmode=require&amp;connect_timeout=5"), ODD),
    ("name with a space", _query("sslmode%20=require"), ODD),
    ("name with a line break", _query("sslmode%0A=require"), ODD),
    ("name with a Cyrillic letter", _query("\u0455slmode=disable"), ODD),
    ("name with a zero width space", _query("sslmode\u200b=disable"), ODD),
    ("name in brackets", _query("sslmode[]=disable"), ODD),
    ("a prototype", _query("__proto__=1"), ODD),
    ("a path", _query("../../etc/passwd=1"), ODD),
    ("? twice at the beginning", _query("?sslmode=require"), ODD),
    ("; before a name", _query(";sslmode=require"), ODD),
    ("an encoded &", _query("%26sslmode=require"), ODD),
    ("name and = encoded", _query("sslmode%3Drequire"), ODD),
    ("name without = at the end", _query("sslmode=require&ssl"), "the query parameter `ssl` without a value"),
    ("name without = first", _query("channel_binding&sslmode=require"), "`channel_binding` without a value"),
    ("ssl twice", _query("ssl=true&ssl=false"), "the query parameter `ssl` twice. Remove one"),
    ("sslmode twice, the same", _query("sslmode=require&sslmode=require"), "the query parameter `sslmode` twice"),
    ("sslmode three times", _query("sslmode=a&sslmode=b&sslmode=c"), "the query parameter `sslmode` twice"),
    ("twice, with others between", _query("ssl=true&schema=a&ssl=true"), "the query parameter `ssl` twice"),
]

_MODES = "an `sslmode` that is not allowed. Allowed: disable, allow, prefer, require, verify-ca, verify-full"

_NO_MODES = (
    *("Require", "REQUIRED", "verify_full", "verifyfull", "verify-identity", "true", "1", "on", "none"),
    *("require%20", "%20require", "require%0A", "req%2575ire", "=require"),
    *("require;host=zq", "require,disable", "require?ssl=true", "require/"),
    *("require\u200b", "\uff52equire", "'require'", "require+"),
)

VALUES: list[Refused] = [
    *((f"sslmode={value}", _query(f"sslmode={value}"), _MODES) for value in _NO_MODES),
    ("channel_binding in upper case", _query("channel_binding=REQUIRE"), "Allowed: disable, prefer, require"),
    ("channel_binding empty", _query("channel_binding="), "Allowed: disable, prefer, require"),
    ("sslnegotiation in upper case", _query("sslnegotiation=DIRECT"), "Allowed: postgres, direct"),
    ("direct, then no TLS", _query("sslnegotiation=direct&sslmode=disable"), "needs sslMode require, verify-ca"),
    ("direct, perhaps TLS", _query("sslmode=allow&sslnegotiation=direct"), "needs sslMode require, verify-ca"),
    ("require_auth with a list", _query("require_auth=scram-sha-256,password"), "Allowed: md5, scram-sha-256"),
    ("require_auth that excludes", _query("require_auth=%21none"), "Allowed: md5, scram-sha-256"),
    ("require_auth of OAuth", _query("require_auth=oauth"), "Allowed: md5, scram-sha-256"),
    ("require_auth empty", _query("require_auth="), "Allowed: md5, scram-sha-256"),
    ("reader wanted", _query("target_session_attrs=read-only"), "Allowed: any, read-write, primary"),
    ("reader preferred", _query("target_session_attrs=prefer-standby"), "Allowed: any, read-write, primary"),
    *(
        (f"connect_timeout={value}", _query(f"connect_timeout={value}"), "`connect_timeout` that is not a whole number")
        for value in ("", "+5", "1e3", "5s", "%205", "\uff15", "99999999999", "2147483648", "0x5", "infinity")
    ),
    *(
        (f"max_connections={value}", _query(f"max_connections={value}"), "that is not a whole number from 1 to 10000")
        for value in ("", "-1", "10001", "1.5", "1_0", "\u0661", "99999999999999999999", "1%0A")
    ),
]
