"""The one lock-free catalog query that gives the observed state.

It takes no lock on any relation of a tenant, so it answers while all of Cipher's tables are locked: no
pg_get_indexdef, pg_get_expr, pg_relation_size or information_schema.columns. It runs as a superuser and as a
plain role, on PostgreSQL 13 to 18, in any database; what only the desired database knows is null elsewhere.
"""

from typing import Any

from psycopg import sql

from cipher_operator.core.desired import Desired
from cipher_operator.core.marker import dropping_prefix
from cipher_operator.core.observed import Observed, decode
from cipher_operator.core.schema import EXTENSION_SCHEMA, INDEX_NAMES, INDEXES, TABLE_NAMES
from cipher_operator.postgres.session import Session

PREFIX = sql.SQL("SET LOCAL ROLE NONE; SET LOCAL search_path = pg_catalog, pg_temp; ")
"""First words of every message of the operator: neither a setting nor a function of a tenant acts in it."""
LOOK_TIMEOUT_MS = 10_000
LOOKING = PREFIX + sql.SQL("SET LOCAL statement_timeout = {}; ").format(sql.Literal(LOOK_TIMEOUT_MS))
"""The same of a message that only looks: it ends well within the time of a run, whatever hangs."""

_SERVER = """
'server', jsonb_build_object(
  'version', p.v, 'database', current_database(), 'recovery', pg_is_in_recovery(),
  'started', extract(epoch FROM pg_postmaster_start_time()),
  'readonly', current_setting('transaction_read_only') = 'on',
  'admin', (SELECT jsonb_build_object('name', m.rolname, 'superuser', m.rolsuper, 'createrole', m.rolcreaterole,
                                      'createdb', m.rolcreatedb,
                                      'inherit', m.rolinherit) FROM pg_roles m WHERE m.rolname = session_user))
"""

_ROLES = """
'roles', COALESCE((SELECT jsonb_object_agg(r.rolname, jsonb_build_object(
    'login', r.rolcanlogin,
    'elevated', r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls,
    'connlimit', r.rolconnlimit, 'inherits', r.rolinherit,
    'expires', r.rolvaliduntil IS NOT NULL AND r.rolvaliduntil <> 'infinity',
    'comment', shobj_description(r.oid, 'pg_authid'),
    'usage', pg_has_role(r.oid, 'USAGE'),
    'set', CASE WHEN p.v >= 160000 THEN pg_has_role(r.oid, 'SET') ELSE pg_has_role(r.oid, 'MEMBER') END,
    'admin', pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION'),
    'in_owner', p.owner_oid IS NOT NULL AND r.oid <> p.owner_oid AND pg_has_role(r.oid, p.owner_oid, 'USAGE')
       AND CASE WHEN p.v >= 160000 THEN pg_has_role(r.oid, p.owner_oid, 'SET') ELSE true END,
    'settings', COALESCE((SELECT jsonb_object_agg(
         CASE WHEN s.setdatabase = 0 THEN '' ELSE '=' END, to_jsonb(s.setconfig))
       FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase
       WHERE s.setrole = r.oid AND (s.setdatabase = 0 OR d.datname = p.db)), '{}')))
  FROM pg_roles r WHERE r.rolname = ANY (p.names)), '{}')
"""

_DATABASE = """
'database', (SELECT jsonb_build_object(
    'owner', pg_get_userbyid(d.datdba), 'owned', pg_has_role(d.datdba, 'USAGE'), 'allowconn', d.datallowconn,
    'connlimit', d.datconnlimit, 'can_create', has_database_privilege(d.oid, 'CREATE'),
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
  FROM pg_namespace n WHERE n.nspname = p.extension_schema)
"""

_RELATIONS = """
'relations', COALESCE((SELECT jsonb_object_agg(c.relname, jsonb_build_object(
    'kind', c.relkind, 'owner', pg_get_userbyid(c.relowner), 'owner_usage', pg_has_role(c.relowner, 'USAGE'),
    'owner_admin', pg_has_role(c.relowner, 'MEMBER WITH ADMIN OPTION'),
    'owner_comment', left(shobj_description(c.relowner, 'pg_authid'), 4096),
    'owner_has_all', (SELECT bool_and(has_table_privilege(c.relowner, c.oid, w.priv))
       FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) w(priv)),
    'comment', left(obj_description(c.oid, 'pg_class'), 4096),
    'pages', c.relpages,
    'grantees', (SELECT COALESCE(jsonb_agg(DISTINCT
         CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END), '[]')
       FROM aclexplode(c.relacl) a WHERE a.grantee <> c.relowner),
    'columns', (SELECT COALESCE(jsonb_object_agg(a.attname, jsonb_build_array(format_type(a.atttypid, a.atttypmod),
         a.attnotnull, a.atthasdef OR a.attidentity <> '' OR a.attgenerated <> '')), '{}')
       FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
    'pk', (SELECT COALESCE(jsonb_agg(a.attname ORDER BY k.n), '[]')
       FROM pg_constraint co CROSS JOIN LATERAL unnest(co.conkey) WITH ORDINALITY k(att, n)
       JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.att WHERE co.conrelid = c.oid AND co.contype = 'p'),
    'indexes', (SELECT COALESCE(jsonb_object_agg(ic.relname, jsonb_build_object(
         'valid', i.indisvalid AND i.indisready AND i.indislive,
         'building', NOT i.indisvalid
           AND EXISTS (SELECT 1 FROM pg_stat_progress_create_index b WHERE b.index_relid = i.indexrelid),
         'plain', am.amname = 'btree' AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnatts = i.indnkeyatts
           AND NOT i.indisunique,
         'columns', (SELECT jsonb_agg(a.attname ORDER BY k.n) FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(att, n)
            LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.att WHERE k.n <= i.indnkeyatts))), '{}')
       FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_am am ON am.oid = ic.relam
       WHERE i.indrelid = c.oid)))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = p.schema AND c.relname = ANY (p.tables)), '{}'),
'taken', COALESCE((SELECT jsonb_object_agg(ic.relname, COALESCE(t.relname, 'another relation'))
  FROM pg_class ic JOIN pg_namespace n ON n.oid = ic.relnamespace
  LEFT JOIN pg_index i ON i.indexrelid = ic.oid LEFT JOIN pg_class t ON t.oid = i.indrelid
  WHERE n.nspname = p.schema AND ic.relname = ANY (p.indexes)
    AND NOT (t.relname IS NOT NULL AND p.index_tables[array_position(p.indexes, ic.relname)] = t.relname)), '{}')
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

_QUERY = (
    """WITH w AS (SELECT {owner}::name AS owner, {names}::name[] AS names, {schema}::name AS schema,
  {tables}::name[] AS tables, {indexes}::name[] AS indexes, {index_tables}::name[] AS index_tables, {db}::name AS db,
  {extensions}::name[] AS extensions, {extension_schema}::name AS extension_schema, {dropping}::text AS dropping,
  current_setting('server_version_num')::int AS v),
p AS (SELECT w.*, (SELECT r.oid FROM pg_roles r WHERE r.rolname = w.owner) AS owner_oid FROM w)
SELECT jsonb_build_object("""
    + ",".join((_SERVER, _ROLES, _DATABASE))
    + ", 'local', CASE WHEN current_database() = p.db THEN jsonb_build_object("
    + ",".join((_SCHEMA, _RELATIONS, _GRANTS))
    + ") END) FROM p"
)


def catalog_query(desired: Desired) -> sql.Composed:
    """Return the query for one storage: one row, one jsonb value, which `read` takes."""
    # '{}' in the parts is an empty JSON object, not a placeholder.
    return sql.SQL(_QUERY.replace("'{}'", "'{{}}'")).format(
        owner=sql.Literal(desired.owner),
        names=sql.Literal(sorted({desired.owner, *desired.logins})),
        schema=sql.Literal(desired.schema),
        tables=sql.Literal(list(TABLE_NAMES)),
        indexes=sql.Literal(list(INDEX_NAMES)),
        index_tables=sql.Literal([index.table for index in INDEXES]),
        db=sql.Literal(desired.database),
        extensions=sql.Literal(list(desired.extensions)),
        extension_schema=sql.Literal(EXTENSION_SCHEMA),
        dropping=sql.Literal(dropping_prefix(desired.database)),
    )


def read(results: list[list[tuple[Any, ...]]]) -> Observed:
    """Return the observed state from the results of a message that ended with the catalog query."""
    return decode(results[-1][0][0])


async def observe(session: Session, desired: Desired) -> Observed:
    """Return the observed state in one round trip. Raises psycopg.Error."""
    return read(await session.execute(LOOKING + catalog_query(desired)))
