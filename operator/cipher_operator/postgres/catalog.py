"""The text of the one lock-free catalog query that gives the observed state.

It takes no lock on any relation of a tenant, so it answers while all of Cipher's tables are locked: no
pg_get_indexdef, pg_get_expr, pg_relation_size or information_schema.columns. It runs as a superuser and as a
plain role, on PostgreSQL 13 to 18, in any database; what only the desired database knows is null elsewhere.
"""

from psycopg import sql

from cipher_operator.core.desired import Desired
from cipher_operator.core.marker import claims_of, dropping_prefix
from cipher_operator.core.namesakes import bearers
from cipher_operator.core.schema import EXTENSION_SCHEMA, INDEX_NAMES, INDEXES, TABLE_NAMES
from cipher_operator.core.sql.composing import compose
from cipher_operator.postgres.catalog_memberships import granting
from cipher_operator.postgres.catalog_relations import PUBLICATION, RELATIONS
from cipher_operator.postgres.catalog_started import STARTED

ADMIN = """
'admin', (SELECT jsonb_build_object('name', m.rolname, 'superuser', m.rolsuper, 'createrole', m.rolcreaterole,
       'createdb', m.rolcreatedb, 'inherit', m.rolinherit,
       'createrole_through', (SELECT COALESCE(jsonb_agg(r.rolname ORDER BY r.rolname), '[]') FROM pg_roles r
          WHERE r.rolcreaterole AND NOT m.rolcreaterole AND pg_has_role(m.oid, r.oid, 'MEMBER')),
       'createdb_through', (SELECT COALESCE(jsonb_agg(r.rolname ORDER BY r.rolname), '[]') FROM pg_roles r
          WHERE r.rolcreatedb AND NOT m.rolcreatedb AND pg_has_role(m.oid, r.oid, 'MEMBER')))
     FROM pg_roles m WHERE m.rolname = session_user)
"""
"""A member of a JSON object: the session's own role."""
# The function and not the view pg_stat_replication, which joins who each of them is: a plan of its own in every look.
_SERVER = (
    """
'server', jsonb_build_object(
  'version', p.v, 'database', current_database(), 'recovery', pg_is_in_recovery(),
  'readonly', current_setting('transaction_read_only') = 'on',
  'started', """
    + STARTED.as_string(None)
    + """, 'product', left(version(), 100),
  'configured', extract(epoch FROM pg_conf_load_time()),
  'replication', CASE WHEN current_setting('synchronous_standby_names', true) <> '' THEN (SELECT jsonb_build_object(
       'names', current_setting('synchronous_standby_names'),
       'commit', CASE WHEN EXISTS (SELECT FROM pg_db_role_setting s
           WHERE s.setrole = p.admin_oid AND s.setconfig::text ~ 'synchronous_commit') THEN 'on'
         ELSE current_setting('synchronous_commit') END,
       'counted', count(*) FILTER (WHERE s.sync_state IS NULL OR s.sync_state IN ('sync', 'quorum')))
     FROM pg_stat_get_wal_senders() s) END,
  'settings', CASE WHEN EXISTS (SELECT 1 FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase
         WHERE s.setrole = p.admin_oid OR (d.datname = current_database() AND d.datname <> p.db)) THEN '{}'::jsonb
     ELSE (SELECT jsonb_object_agg(w.name, current_setting(w.name, true)) FROM unnest(ARRAY['idle_session_timeout',
       'idle_in_transaction_session_timeout', 'transaction_timeout', 'default_transaction_isolation']) w(name)) END,
  """
    + ADMIN
    + """),
'settings', COALESCE((SELECT jsonb_object_agg(CASE WHEN s.setdatabase = 0 THEN '' ELSE '=' END, to_jsonb(s.setconfig))
  FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase
  WHERE s.setrole = 0 AND (s.setdatabase = 0 OR d.datname = p.db)), '{}')
"""
)

_ROLES = (
    """
'roles', COALESCE((SELECT jsonb_object_agg(r.rolname, jsonb_build_object(
    'login', r.rolcanlogin,
    'elevated', r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls,
    'connlimit', r.rolconnlimit, 'inherits', r.rolinherit,
    'expires', r.rolvaliduntil IS NOT NULL AND r.rolvaliduntil <> 'infinity',
    'comment', left(shobj_description(r.oid, 'pg_authid'), 4096),
    'usage', pg_has_role(r.oid, 'USAGE'),
    'set', CASE WHEN p.v >= 160000 THEN pg_has_role(r.oid, 'SET') ELSE pg_has_role(r.oid, 'MEMBER') END,
    'admin', pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION'),
    'grants', """
    + granting("r.oid")
    + """,
    'in_admin', pg_has_role(r.oid, p.admin_oid, 'MEMBER'),
    'in_owner', p.owner_oid IS NOT NULL AND r.oid <> p.owner_oid AND pg_has_role(r.oid, p.owner_oid, 'USAGE')
       AND CASE WHEN p.v >= 160000 THEN pg_has_role(r.oid, p.owner_oid, 'SET') ELSE true END,
    'settings', COALESCE((SELECT jsonb_object_agg(
         CASE WHEN s.setdatabase = 0 THEN '' ELSE '=' END, to_jsonb(s.setconfig))
       FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase
       WHERE s.setrole = r.oid AND (s.setdatabase = 0 OR d.datname = p.db)), '{}')))
  FROM pg_roles r WHERE r.rolname = ANY (p.names)), '{}')
"""
)

_CLAIMANTS = """
'claimants', COALESCE((SELECT jsonb_agg(r.rolname) FROM pg_roles r
  WHERE starts_with(shobj_description(r.oid, 'pg_authid'), p.claims)), '[]')
"""

# `datcollversion` and its function are 15's. What 13 does not have cannot be named, but a row as JSON can hold it, and
# a query as text call it.
_DATABASE = """
'database', (SELECT jsonb_build_object(
    'owner', pg_get_userbyid(d.datdba), 'owned', pg_has_role(d.datdba, 'USAGE'), 'allowconn', d.datallowconn,
    'connlimit', d.datconnlimit, 'encoding', pg_encoding_to_char(d.encoding),
    'collation', CASE WHEN to_jsonb(d) ->> 'datcollversion' IS NOT NULL THEN jsonb_build_array(
       to_jsonb(d) ->> 'datcollversion', substring(query_to_xml(
         'SELECT pg_catalog.pg_database_collation_actual_version(' || d.oid || ') AS v', false, true, '')::text
         FROM '<v>([^<]*)</v>')) END,
    'can_create', has_database_privilege(d.oid, 'CREATE'),
    'grantable', (SELECT bool_and(has_database_privilege(d.oid, w.priv || ' WITH GRANT OPTION'))
       FROM unnest(ARRAY['CREATE', 'CONNECT', 'TEMPORARY']) w(priv)),
    'settable', CASE WHEN p.v >= 160000 THEN pg_has_role(d.datdba, 'SET') ELSE pg_has_role(d.datdba, 'MEMBER') END,
    'public', (SELECT COALESCE(jsonb_agg(a.privilege_type), '[]')
       FROM aclexplode(COALESCE(d.datacl, acldefault('d', d.datdba))) a WHERE a.grantee = 0),
    'granted', (SELECT COALESCE(jsonb_agg(a.privilege_type), '[]')
       FROM aclexplode(COALESCE(d.datacl, acldefault('d', d.datdba))) a WHERE a.grantee = p.owner_oid),
    'effective', (SELECT COALESCE(jsonb_agg(w.priv), '[]')
       FROM unnest(ARRAY['CREATE', 'CONNECT', 'TEMPORARY']) w(priv)
       WHERE CASE WHEN p.owner_oid IS NULL THEN has_database_privilege('public', d.oid, w.priv)
                  ELSE has_database_privilege(p.owner_oid, d.oid, w.priv) END))
  FROM pg_database d WHERE d.datname = p.db),
'dropping', (SELECT COALESCE(jsonb_agg(d.datname), '[]') FROM pg_database d
             WHERE starts_with(d.datname::text, p.dropping))
"""

_SCHEMA = """
'schema', (SELECT jsonb_build_object(
    'owner', pg_get_userbyid(n.nspowner),
    'settable', CASE WHEN p.v >= 160000 THEN pg_has_role(n.nspowner, 'SET') ELSE pg_has_role(n.nspowner, 'MEMBER') END,
    'granted', EXISTS (SELECT 1 FROM aclexplode(n.nspacl) a
                       WHERE a.grantee = p.owner_oid AND n.nspowner <> p.owner_oid),
    'grantable', pg_has_role(n.nspowner, 'USAGE')
       OR (has_schema_privilege(n.oid, 'USAGE WITH GRANT OPTION')
           AND has_schema_privilege(n.oid, 'CREATE WITH GRANT OPTION')),
    'effective', (SELECT COALESCE(jsonb_agg(w.priv), '[]') FROM unnest(ARRAY['USAGE', 'CREATE']) w(priv)
       WHERE CASE WHEN p.owner_oid IS NULL THEN has_schema_privilege('public', n.oid, w.priv)
                  ELSE has_schema_privilege(p.owner_oid, n.oid, w.priv) END))
  FROM pg_namespace n WHERE n.nspname = p.schema),
'extensions', (SELECT COALESCE(jsonb_object_agg(e.extname, jsonb_build_array(en.nspname,
     CASE WHEN p.owner_oid IS NULL THEN has_schema_privilege('public', en.oid, 'USAGE')
          ELSE has_schema_privilege(p.owner_oid, en.oid, 'USAGE') END)), '{}')
  FROM pg_extension e JOIN pg_namespace en ON en.oid = e.extnamespace WHERE e.extname = ANY (p.extensions)),
'extension_schema', (SELECT jsonb_build_object('owner', pg_get_userbyid(n.nspowner),
    'trusted', pg_get_userbyid(n.nspowner) = session_user
       OR (SELECT r.rolsuper FROM pg_roles r WHERE r.oid = n.nspowner),
    'open', EXISTS (SELECT 1 FROM aclexplode(n.nspacl) a WHERE a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner))
  FROM pg_namespace n WHERE n.nspname = p.extension_schema),
'event_triggers', (SELECT COALESCE(jsonb_agg(concat_ws(' ', e.evtname, e.xmin, f.xmin) ORDER BY e.evtname), '[]')
  FROM pg_event_trigger e JOIN pg_proc f ON f.oid = e.evtfoid WHERE e.evtenabled <> 'D')
"""

_GRANTS = """
'ungranted', CASE WHEN p.owner_oid IS NULL THEN '[]'::jsonb ELSE COALESCE((
  SELECT jsonb_agg(jsonb_build_array(g.kind, g.relname) ORDER BY g.relname) FROM (
    SELECT c.relname, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = p.schema AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
      AND pg_get_userbyid(c.relowner) = session_user
      AND NOT (CASE WHEN c.relkind = 'S'
        THEN (SELECT bool_and(has_sequence_privilege(p.owner_oid, c.oid, w.priv))
              FROM unnest(ARRAY['USAGE', 'SELECT', 'UPDATE']) w(priv))
        ELSE (SELECT bool_and(has_table_privilege(p.owner_oid, c.oid, w.priv))
              FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER'])
                w(priv)) END)
    ORDER BY c.relname LIMIT 5000) g), '[]') END,
'defaults', (SELECT COALESCE(jsonb_agg(da.defaclobjtype), '[]') FROM pg_default_acl da
  JOIN pg_namespace n ON n.oid = da.defaclnamespace
  WHERE n.nspname = p.schema AND pg_get_userbyid(da.defaclrole) = session_user AND da.defaclobjtype IN ('r', 'S')
    AND (SELECT count(DISTINCT a.privilege_type) FROM aclexplode(da.defaclacl) a WHERE a.grantee = p.owner_oid)
        >= CASE da.defaclobjtype WHEN 'S' THEN 3 ELSE 7 END)
"""

# Evaluated once: else a reference to a column is a copy of the expression, with a plan of its own.
# A name as an identifier, in quotes or not, is no number and no `-`, which regrole takes for something else.
_WITH = """WITH w AS MATERIALIZED (SELECT {owner}::name AS owner, {names}::name[] AS names, {schema}::name AS schema,
  {tables}::name[] AS tables, {indexes}::name[] AS indexes, {index_tables}::name[] AS index_tables, {db}::name AS db,
  {extensions}::name[] AS extensions, {extension_schema}::name AS extension_schema, {dropping}::text AS dropping,
  {claims}::text AS claims, current_setting('server_version_num')::int AS v),
p AS MATERIALIZED (SELECT w.*, to_regrole(quote_ident(w.owner::text))::oid AS owner_oid,
  to_regrole(quote_ident(session_user::text))::oid AS admin_oid FROM w)"""
_EVERYWHERE = ",".join((_SERVER, _ROLES, _DATABASE))
_LOCAL = (
    "'local', CASE WHEN current_database() = p.db THEN jsonb_build_object("
    + ",".join((_SCHEMA, RELATIONS, _GRANTS))
    + ") END"
)


def _template(*, inside: bool, claims: bool) -> str:
    head = _WITH + (PUBLICATION if inside else "")
    claimants = _CLAIMANTS if claims else "'claimants', '[]'::jsonb"
    local = _LOCAL if inside else "'local', null"
    # '{}' in the parts is an empty JSON object, not a placeholder.
    return f"{head} SELECT jsonb_build_object({_EVERYWHERE},{claimants},{local}) FROM p".replace("'{}'", "'{{}}'")


_TEMPLATES = {
    (inside, claims): _template(inside=inside, claims=claims) for inside in (True, False) for claims in (True, False)
}
"""What is asked, by whether it is asked in the desired database, and for claimants. Plans cost the server more than
what it reads: there is none for what is not asked."""


def catalog_query(desired: Desired, *, inside: bool = True) -> sql.Composed:
    """Return the query for one storage: one row, one jsonb value, which `read` takes.

    With `inside` False nothing of what only the desired database knows.
    """
    claims = _claims(desired)
    return compose(
        _TEMPLATES[inside, claims is not None],
        owner=sql.Literal(desired.owner),
        names=sql.Literal(sorted(_names(desired))),
        schema=sql.Literal(desired.schema),
        tables=sql.Literal(list(TABLE_NAMES)),
        indexes=sql.Literal(list(INDEX_NAMES)),
        index_tables=sql.Literal([index.table for index in INDEXES]),
        db=sql.Literal(desired.database),
        extensions=sql.Literal(list(desired.extensions)),
        extension_schema=sql.Literal(EXTENSION_SCHEMA),
        dropping=sql.Literal(dropping_prefix(desired.database)),
        claims=sql.Literal(claims),
    )


def _names(desired: Desired) -> set[str]:
    """Return the roles that are looked for: those of the storage, and those that tell of other storages."""
    return {desired.owner, *desired.logins, *bearers(desired), *filter(None, [desired.heir_of])}


def _claims(desired: Desired) -> str | None:
    """Return how the markers begin that are looked for, None where it does not matter who else has one."""
    counted = desired.tenant is not None and desired.tenant.rivals is not None
    return claims_of(desired.identity.instance, desired.identity.namespace) if counted else None
