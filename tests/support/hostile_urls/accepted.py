"""URLs that are read, and their parts: what providers print to be copied, and what is odd but means one thing only."""

from support.hostile_urls.parts import DATABASE, HOST, LOGIN, PASSWORD, USER, at_host, url

H, L, P, U = HOST, LOGIN, PASSWORD, USER

Parts = tuple[str, str, str, int, str | None, str]
"""User, password, host, port, database, sslMode."""
Accepted = tuple[str, str, Parts]

_SUPABASE = "aws-0-eu-west-1.pooler.supabase.com"
_NEON = "ep-cool-zq-123456-pooler.us-east-2.aws.neon.tech"
_HEROKU = "ec2-52-1-2-3.compute-1.amazonaws.com"
_AZURE = "serverzq.postgres.database.azure.com"
_RDS = "db-zq.c1abc.eu-central-1.rds.amazonaws.com"
_LONG_HOST = "h" * (253 - len(H)) + H

PROVIDERS: list[Accepted] = [
    ("Supabase, direct", f"postgresql://postgres:{P}@db.abczq.supabase.co:5432/postgres",
     ("postgres", P, "db.abczq.supabase.co", 5432, "postgres", "require")),
    ("Supabase, session pooler", f"postgresql://postgres.abczq:{P}@{_SUPABASE}:5432/postgres",
     ("postgres.abczq", P, _SUPABASE, 5432, "postgres", "require")),
    ("Supabase, for Prisma", f"postgresql://postgres.abczq:{P}@{_SUPABASE}:6543/postgres?pgbouncer=true",
     ("postgres.abczq", P, _SUPABASE, 6543, "postgres", "require")),
    ("Vercel's Supabase", f"postgres://postgres.abczq:{P}@{_SUPABASE}:6543/postgres?sslmode=require&supa=base-pooler.x",
     ("postgres.abczq", P, _SUPABASE, 6543, "postgres", "require")),
    ("Neon", f"postgresql://neondb_owner:npg_{P}@{_NEON}/neondb?sslmode=require&channel_binding=require",
     ("neondb_owner", f"npg_{P}", _NEON, 5432, "neondb", "require")),
    ("Neon, with a hint on time", f"postgresql://{L}@{_NEON}/neondb?sslmode=require&connect_timeout=15",
     (U, P, _NEON, 5432, "neondb", "require")),
    ("Heroku", f"postgres://{L}@{_HEROKU}:5432/d1abcdefghijkl", (U, P, _HEROKU, 5432, "d1abcdefghijkl", "require")),
    ("Heroku, for node", f"postgres://{L}@{_HEROKU}/d1?sslmode=require&uselibpqcompat=true",
     (U, P, _HEROKU, 5432, "d1", "require")),
    ("Azure, flexible server", f"postgresql://{L}@{_AZURE}:5432/postgres?sslmode=require",
     (U, P, _AZURE, 5432, "postgres", "require")),
    ("Azure, single server", f"postgres://{U}%40serverzq:{P}@{_AZURE}/postgres?sslmode=require",
     (f"{U}@serverzq", P, _AZURE, 5432, "postgres", "require")),
    ("Azure, password as made by the portal", f"postgresql://{U}:{P}%5E%25%26%2B%3D%40@{_AZURE}/postgres?sslmode=prefer",
     (U, f"{P}^%&+=@", _AZURE, 5432, "postgres", "prefer")),
    ("RDS", f"postgresql://{L}@{_RDS}:5432/postgres?sslmode=verify-full",
     (U, P, _RDS, 5432, "postgres", "verify-full")),
    ("Cloud SQL, by address", f"postgresql://{L}@34.1.2.3:5432/postgres",
     (U, P, "34.1.2.3", 5432, "postgres", "require")),
    ("Aiven", f"postgres://avnadmin:AVNS_{P}@pg-zq.aivencloud.com:12691/defaultdb?sslmode=require",
     ("avnadmin", f"AVNS_{P}", "pg-zq.aivencloud.com", 12691, "defaultdb", "require")),
    ("DigitalOcean", f"postgresql://doadmin:{P}@db-zq.b.db.ondigitalocean.com:25060/defaultdb?sslmode=require",
     ("doadmin", P, "db-zq.b.db.ondigitalocean.com", 25060, "defaultdb", "require")),
    ("Render", f"postgresql://{L}@dpg-zq-a.oregon-postgres.render.com/{DATABASE}_x1y2",
     (U, P, "dpg-zq-a.oregon-postgres.render.com", 5432, f"{DATABASE}_x1y2", "require")),
    ("Railway", f"postgresql://postgres:{P}@zq.proxy.rlwy.net:34567/railway",
     ("postgres", P, "zq.proxy.rlwy.net", 34567, "railway", "require")),
    ("Fly", f"postgres://{L}@app-zq.flycast:5432/{DATABASE}?sslmode=disable",
     (U, P, "app-zq.flycast", 5432, DATABASE, "disable")),
    ("Timescale", f"postgres://tsdbadmin:{P}@zq.tsdb.cloud.timescale.com:39000/tsdb?sslmode=require",
     ("tsdbadmin", P, "zq.tsdb.cloud.timescale.com", 39000, "tsdb", "require")),
    ("CloudNativePG", f"postgresql://{L}@cluster-zq-rw.team.svc.cluster.local:5432/app",
     (U, P, "cluster-zq-rw.team.svc.cluster.local", 5432, "app", "require")),
    ("Prisma", at_host(f"/{DATABASE}?schema=public&connection_limit=5&pool_timeout=10&socket_timeout=3"),
     (U, P, H, 5432, DATABASE, "require")),
    ("Cipher's documentation", at_host(f":5432/{DATABASE}?max_connections=10"), (U, P, H, 5432, DATABASE, "require")),
    ("asyncpg behind a pooler", at_host(f"/{DATABASE}?statement_cache_size=0&pool_mode=transaction"),
     (U, P, H, 5432, DATABASE, "require")),
]  # fmt: skip

ODD: list[Accepted] = [
    ("backslash in the password", f"postgresql://{L}\\@{H}/d", (U, f"{P}\\", H, 5432, "d", "require")),
    ("password of delimiters", f"postgresql://{U}:%40%3A%2F%3F%23%5B%5D%25{P}@{H}/d",
     (U, f"@:/?#[]%{P}", H, 5432, "d", "require")),
    ("a whole authority as password", f"postgresql://{U}:x%40otherzq.example%3A1%2Fe%3F@{H}/d",
     (U, "x@otherzq.example:1/e?", H, 5432, "d", "require")),
    ("CRLF in the password", f"postgresql://{L}%0D%0A@{H}/d", (U, f"{P}\r\n", H, 5432, "d", "require")),
    ("tilde and plus", f"postgresql://{U}+~:{P}+~@{H}/a+b~", (f"{U}+~", f"{P}+~", H, 5432, "a+b~", "require")),
    ("encoded twice", f"postgresql://{U}%2540:{P}%252F@{H}/%2525", (f"{U}%40", f"{P}%2F", H, 5432, "%25", "require")),
    ("encoded in lower case", f"postgresql://{L}%c3%a4@{H}/%c3%bc", (U, f"{P}ä", H, 5432, "ü", "require")),
    ("every letter encoded", f"postgresql://%75%73:{P}%70@{H}/%64", ("us", f"{P}p", H, 5432, "d", "require")),
    ("decomposed letters stay so", f"postgresql://u\u0308:{P}u\u0308@{H}/u\u0308",
     ("u\u0308", f"{P}u\u0308", H, 5432, "u\u0308", "require")),
    ("invisible characters in the password", f"postgresql://{L}\u200b\u202e\ufeff@{H}/d",
     (U, f"{P}\u200b\u202e\ufeff", H, 5432, "d", "require")),
    ("outside the first plane", f"postgresql://🦀:{P}🦀@{H}/🦀", ("🦀", f"{P}🦀", H, 5432, "🦀", "require")),
    ("user of 255 bytes", f"postgresql://{'u' * 255}:{P}@{H}/d", ("u" * 255, P, H, 5432, "d", "require")),
    ("user of keywords", f"postgresql://host=x%20{U}:{P}@{H}/d", (f"host=x {U}", P, H, 5432, "d", "require")),
    ("user of spaces", f"postgresql://%20{U}%20:{P}@{H}/d", (f" {U} ", P, H, 5432, "d", "require")),
    ("host in upper case", url(f"DB.{H.upper()}/d"), (U, P, f"DB.{H.upper()}", 5432, "d", "require")),
    ("punycode", url("xn--mnchenzq-q2a.example/d"), (U, P, "xn--mnchenzq-q2a.example", 5432, "d", "require")),
    ("host of 253 characters", url(f"{_LONG_HOST}/d"), (U, P, _LONG_HOST, 5432, "d", "require")),
    ("label beyond 63 characters", url(f"{'h' * 64}.{H}/d"), (U, P, f"{'h' * 64}.{H}", 5432, "d", "require")),
    ("name of digits", url("123.456.zq/d"), (U, P, "123.456.zq", 5432, "d", "require")),
    # What these stand for is for the dialler to find out: postgres/dial.py.
    ("short IPv4", url("127.1/d"), (U, P, "127.1", 5432, "d", "require")),
    ("decimal IPv4", url("2130706433/d"), (U, P, "2130706433", 5432, "d", "require")),
    ("hexadecimal IPv4", url("0x7f.0.0.1/d"), (U, P, "0x7f.0.0.1", 5432, "d", "require")),
    ("octal IPv4", url("0177.0.0.01/d"), (U, P, "0177.0.0.01", 5432, "d", "require")),
    ("IPv6 written out", url("[2001:0DB8:0:0:0:0:0:1]/d"), (U, P, "2001:db8::1", 5432, "d", "require")),
    ("NAT64", url("[64:ff9b::7f00:1]:1/d"), (U, P, "64:ff9b::7f00:1", 1, "d", "require")),
    ("unspecified IPv6", url("[::]/d"), (U, P, "::", 5432, "d", "require")),
    ("last port", at_host(":65535/d"), (U, P, H, 65535, "d", "require")),
    ("first port", at_host(":1/d"), (U, P, H, 1, "d", "require")),
    ("port with a leading zero is decimal", at_host(":05432/d"), (U, P, H, 5432, "d", "require")),
    ("no path, but a query", at_host(":6432?sslmode=allow"), (U, P, H, 6432, None, "allow")),
    ("a slash and a query", at_host("/?sslmode=disable"), (U, P, H, 5432, None, "disable")),
    ("keyword string as database", at_host("/host=otherzq%20user=x"),
     (U, P, H, 5432, "host=otherzq user=x", "require")),
    ("path upwards as database", at_host("/..%2F..%2Fzq"), (U, P, H, 5432, "../../zq", "require")),
    ("dots as database", at_host("/.."), (U, P, H, 5432, "..", "require")),
    ("quotes as database", at_host("/d%22%27;--"), (U, P, H, 5432, "d\"';--", "require")),
    ("colon and brackets in the database", at_host("/a:b[0]\\"), (U, P, H, 5432, "a:b[0]\\", "require")),
    ("comma in the database", at_host("/a,b:5433"), (U, P, H, 5432, "a,b:5433", "require")),
    ("encoded ? and #", at_host("/d%3Fsslmode=disable%23"), (U, P, H, 5432, "d?sslmode=disable#", "require")),
    ("63 bytes", at_host(f"/{'日' * 21}"), (U, P, H, 5432, "日" * 21, "require")),
    ("template1 in upper case is another", at_host("/TEMPLATE1"), (U, P, H, 5432, "TEMPLATE1", "require")),
    ("template1 and a space is another", at_host("/template1%20"), (U, P, H, 5432, "template1 ", "require")),
    ("encoded parameter name", at_host("/d?%73slmode=verify-ca"), (U, P, H, 5432, "d", "verify-ca")),
    ("encoded parameter value", at_host("/d?sslmode=%64isable"), (U, P, H, 5432, "d", "disable")),
    ("empty parameters", at_host("/d?&&sslmode=allow&"), (U, P, H, 5432, "d", "allow")),
    ("slash in the query", at_host("?application_name=a/b:c"), (U, P, H, 5432, None, "require")),
    ("encoded & in a value", at_host("/d?application_name=a%26host%3Dotherzq"), (U, P, H, 5432, "d", "require")),
    ("? and = in a value", at_host("/d?application_name=a?host=otherzq"), (U, P, H, 5432, "d", "require")),
    ("+ is no space", at_host("/d?sslmode=allow&application_name=a+b"), (U, P, H, 5432, "d", "allow")),
    ("ssl=true", at_host("/d?ssl=true"), (U, P, H, 5432, "d", "require")),
]  # fmt: skip

ACCEPTED = PROVIDERS + ODD
