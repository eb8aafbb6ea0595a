"""The text of the one lock-free catalog query that gives the observed state.

It takes no lock on any relation of a tenant, so it answers while all of Cipher's tables are locked: no
pg_get_indexdef, pg_get_expr, pg_relation_size or information_schema.columns. It runs as a superuser and as a
plain role, on PostgreSQL 13 to 18, in any database; what only the desired database knows is null elsewhere.
"""

from psycopg import sql

from cipher_operator.core.desired import Desired
from cipher_operator.core.marker import claims_of, dropping_prefix
from cipher_operator.core.schema import EXTENSION_SCHEMA, INDEX_NAMES, INDEXES, TABLE_NAMES
from cipher_operator.core.sql.composing import compose

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
_SERVER = (
    """
'server', jsonb_build_object(
  'version', p.v, 'database', current_database(), 'recovery', pg_is_in_recovery(),
  'readonly', current_setting('transaction_read_only') = 'on',
  'started', extract(epoch FROM pg_postmaster_start_time()), 'product', left(version(), 100),
  'configured', extract(epoch FROM pg_conf_load_time()),
  'replication', CASE WHEN current_setting('synchronous_standby_names', true) <> '' THEN (SELECT jsonb_build_object(
       'names', current_setting('synchronous_standby_names'),
       'commit', CASE WHEN EXISTS (SELECT FROM pg_db_role_setting s JOIN pg_roles m ON m.oid = s.setrole
           WHERE m.rolname = session_user AND s.setconfig::text ~ 'synchronous_commit') THEN 'on'
         ELSE current_setting('synchronous_commit') END,
       'counted', count(*) FILTER (WHERE s.sync_state IS NULL OR s.sync_state IN ('sync', 'quorum')))
     FROM pg_stat_replication s) END,
  'settings', CASE WHEN EXISTS (SELECT 1 FROM pg_db_role_setting s JOIN pg_roles m ON m.oid = s.setrole
                                WHERE m.rolname = session_user) THEN '{}'::jsonb
     ELSE jsonb_build_object('idle_session_timeout', current_setting('idle_session_timeout', true)) END,
  """
    + ADMIN
    + """),
'settings', COALESCE((SELECT jsonb_object_agg(CASE WHEN s.setdatabase = 0 THEN '' ELSE '=' END, to_jsonb(s.setconfig))
  FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase
  WHERE s.setrole = 0 AND (s.setdatabase = 0 OR d.datname = p.db)), '{}')
"""
)

_ROLES = """
'roles', COALESCE((SELECT jsonb_object_agg(r.rolname, jsonb_build_object(
    'login', r.rolcanlogin,
    'elevated', r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls,
    'connlimit', r.rolconnlimit, 'inherits', r.rolinherit,
    'expires', r.rolvaliduntil IS NOT NULL AND r.rolvaliduntil <> 'infinity',
    'comment', left(shobj_description(r.oid, 'pg_authid'), 4096),
    'usage', pg_has_role(r.oid, 'USAGE'),
    'set', CASE WHEN p.v >= 160000 THEN pg_has_role(r.oid, 'SET') ELSE pg_has_role(r.oid, 'MEMBER') END,
    'admin', pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION'),
    'in_admin', pg_has_role(r.oid, p.admin_oid, 'MEMBER'),
    'in_owner', p.owner_oid IS NOT NULL AND r.oid <> p.owner_oid AND pg_has_role(r.oid, p.owner_oid, 'USAGE')
       AND CASE WHEN p.v >= 160000 THEN pg_has_role(r.oid, p.owner_oid, 'SET') ELSE true END,
    'settings', COALESCE((SELECT jsonb_object_agg(
         CASE WHEN s.setdatabase = 0 THEN '' ELSE '=' END, to_jsonb(s.setconfig))
       FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase
       WHERE s.setrole = r.oid AND (s.setdatabase = 0 OR d.datname = p.db)), '{}')))
  FROM pg_roles r WHERE r.rolname = ANY (p.names)), '{}')
"""

_CLAIMANTS = """
'claimants', CASE WHEN p.claims IS NULL THEN '[]'::jsonb ELSE COALESCE((SELECT jsonb_agg(r.rolname) FROM pg_roles r
  WHERE starts_with(shobj_description(r.oid, 'pg_authid'), p.claims)), '[]') END
"""

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
  FROM pg_event_trigger e JOIN pg_proc f ON f.oid = e.evtfoid WHERE e.evtenabled IN ('O', 'A'))
"""

_OTHERS = """
    'unlogged', c.relpersistence = 'u',
    'collations', (SELECT COALESCE(jsonb_agg(DISTINCT l.collname), '[]')
       FROM pg_attribute a JOIN pg_collation l ON l.oid = a.attcollation AND l.collversion IS NOT NULL
       WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         AND l.collversion <> pg_collation_actual_version(a.attcollation)),
    'unlogged_parts', (WITH RECURSIVE part AS (
         SELECT h.inhrelid FROM pg_inherits h WHERE h.inhparent = c.oid AND c.relkind = 'p'
         UNION SELECT h.inhrelid FROM pg_inherits h JOIN part ON h.inhparent = part.inhrelid)
       SELECT COALESCE(jsonb_agg(k.relname ORDER BY k.relname), '[]') FROM part JOIN pg_class k ON k.oid = part.inhrelid
       WHERE k.relpersistence = 'u'),
    'gap', c.relkind = 'p' AND NOT EXISTS (SELECT 1 FROM pg_partitioned_table t WHERE t.partrelid = c.oid
       AND (t.partdefid <> 0 OR t.partstrat = 'h' AND (
         SELECT abs(1 - sum(1.0 / substring(k.relpartbound::text FROM ':modulus ([0-9]+)')::int)) < 1e-9
         FROM pg_inherits h JOIN pg_class k ON k.oid = h.inhrelid WHERE h.inhparent = c.oid))),
    'partition', c.relispartition,
    'replica_identity', concat_ws(' ', c.relreplident, (SELECT ic.relname FROM pg_index i
       JOIN pg_class ic ON ic.oid = i.indexrelid WHERE i.indrelid = c.oid AND i.indisreplident)),
    'identified', c.relreplident = 'f' OR EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid
       AND CASE c.relreplident WHEN 'd' THEN i.indisprimary AND i.indimmediate WHEN 'i' THEN i.indisreplident END),
    'row_security', c.relrowsecurity AND c.relforcerowsecurity AND NOT COALESCE(
       (SELECT r.rolsuper OR r.rolbypassrls FROM pg_roles r WHERE r.oid = p.owner_oid), false),
    'key_deferrable', EXISTS (SELECT 1 FROM pg_constraint co
       WHERE co.conrelid = c.oid AND co.contype = 'p' AND co.condeferrable),
    'constraints', (SELECT COALESCE(jsonb_agg(jsonb_build_array(co.conname, co.contype) ORDER BY co.conname), '[]')
       FROM pg_constraint co WHERE co.conrelid = c.oid AND co.contype IN ('c', 'f', 'x')
         AND COALESCE(to_jsonb(co) ->> 'conenforced', 'true') = 'true'),
    'references', (SELECT COALESCE(jsonb_agg(DISTINCT jsonb_build_array(co.conname, o.relname)), '[]')
       FROM pg_trigger t JOIN pg_constraint co ON co.oid = t.tgconstraint JOIN pg_class o ON o.oid = co.conrelid
       WHERE t.tgrelid = c.oid AND t.tgisinternal AND co.contype = 'f' AND co.confrelid = c.oid
         AND co.conrelid <> c.oid),
    'triggers', (SELECT COALESCE(jsonb_agg(t.tgname ORDER BY t.tgname), '[]') FROM pg_trigger t
       WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')),
    'rules', (SELECT COALESCE(jsonb_agg(jsonb_build_array(w.rulename, w.ev_type) ORDER BY w.rulename), '[]')
       FROM pg_rewrite w WHERE w.ev_class = c.oid AND w.ev_type <> '1' AND w.ev_enabled IN ('O', 'A')),
    'policies', (SELECT COALESCE(jsonb_agg(l.polname ORDER BY l.polname), '[]') FROM pg_policy l
       WHERE l.polrelid = c.oid),
    'children', (SELECT COALESCE(jsonb_agg(k.relname ORDER BY k.relname), '[]')
       FROM pg_inherits h JOIN pg_class k ON k.oid = h.inhrelid WHERE h.inhparent = c.oid AND c.relkind <> 'p'),
    'publications', (SELECT COALESCE(jsonb_agg(jsonb_build_array(b.pubname, b.pubupdate OR b.pubdelete)
         ORDER BY b.pubname), '[]')
       FROM publication b WHERE b.puballtables OR c.relnamespace = ANY (b.schemas)
         OR EXISTS (SELECT FROM pg_publication_rel l WHERE l.prpubid = b.oid AND l.prrelid = c.oid)),
    'stamps', (SELECT COALESCE(hashtextextended(string_agg(s.stamp, ',' ORDER BY s.stamp), 0), 0)::text FROM (
       SELECT concat_ws(' ', 't', t.oid, t.xmin, f.xmin) AS stamp
         FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
       UNION ALL SELECT concat_ws(' ', 'p', l.oid, l.xmin) FROM pg_policy l WHERE l.polrelid = c.oid
       UNION ALL SELECT concat_ws(' ', 'c', k.oid, k.xmin, c.relam) FROM pg_constraint k WHERE k.conrelid = c.oid
       UNION ALL SELECT concat_ws(' ', 'r', w.oid, w.xmin) FROM pg_rewrite w WHERE w.ev_class = c.oid
       UNION ALL SELECT concat_ws(' ', 'b', b.oid, b.xmin) FROM pg_publication_rel b WHERE b.prrelid = c.oid
       UNION ALL SELECT concat_ws(' ', 'a', b.oid, b.stamp) FROM publication b) s)
"""
# `stamps`: xmin tells of a row written anew. `conenforced` is 18's. A bound is read as text: pg_get_expr would lock.
# What PostgreSQL 15 has and 13 does not cannot be named: a row as JSON, and a query as text, can.
# Which schemas a publication has stands in a catalog of 15 and later; what depends on what, in all.

_RELATIONS = (
    """
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
         a.attnotnull, a.atthasdef OR a.attidentity <> '' OR a.attgenerated <> '',
         CASE WHEN a.attgenerated <> '' THEN 'generated' WHEN a.attidentity = 'a' THEN 'identity' ELSE '' END,
         COALESCE(l.collisdeterministic, true), a.attlen = -1 AND a.attstorage = 'p')), '{}')
       FROM pg_attribute a LEFT JOIN pg_collation l ON l.oid = a.attcollation
       WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
    'pk', (SELECT COALESCE(jsonb_agg(a.attname ORDER BY k.n), '[]')
       FROM pg_constraint co CROSS JOIN LATERAL unnest(co.conkey) WITH ORDINALITY k(att, n)
       JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.att WHERE co.conrelid = c.oid AND co.contype = 'p'),
    'indexes', (SELECT COALESCE(jsonb_object_agg(ic.relname, jsonb_build_object(
         'valid', i.indisvalid AND i.indisready AND i.indislive,
         'building', NOT i.indisvalid
           AND EXISTS (SELECT 1 FROM pg_stat_progress_create_index b WHERE b.index_relid = i.indexrelid),
         'plain', am.amname = 'btree' AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnatts = i.indnkeyatts
           AND NOT i.indisunique,
         'unique', i.indisunique, 'primary', i.indisprimary, 'partial', i.indpred IS NOT NULL,
         'constraint', (SELECT co.conname FROM pg_constraint co WHERE co.conrelid = c.oid AND co.conindid = ic.oid
           AND co.contype IN ('p', 'u', 'x')),
         'columns', (SELECT jsonb_agg(a.attname ORDER BY k.n) FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(att, n)
            LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.att WHERE k.n <= i.indnkeyatts))), '{}')
       FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_am am ON am.oid = ic.relam
       WHERE i.indrelid = c.oid))
    || jsonb_build_object("""
    + _OTHERS
    + """))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = p.schema AND c.relname = ANY (p.tables)), '{}'),
'taken', COALESCE((SELECT jsonb_object_agg(ic.relname, COALESCE(t.relname, 'another relation'))
  FROM pg_class ic JOIN pg_namespace n ON n.oid = ic.relnamespace
  LEFT JOIN pg_index i ON i.indexrelid = ic.oid LEFT JOIN pg_class t ON t.oid = i.indrelid
  WHERE n.nspname = p.schema AND ic.relname = ANY (p.indexes)
    AND NOT (t.relname IS NOT NULL AND p.index_tables[array_position(p.indexes, ic.relname)] = t.relname)), '{}')
"""
)

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

_WITH = """WITH w AS (SELECT {owner}::name AS owner, {names}::name[] AS names, {schema}::name AS schema,
  {tables}::name[] AS tables, {indexes}::name[] AS indexes, {index_tables}::name[] AS index_tables, {db}::name AS db,
  {extensions}::name[] AS extensions, {extension_schema}::name AS extension_schema, {dropping}::text AS dropping,
  {claims}::text AS claims, current_setting('server_version_num')::int AS v),
p AS (SELECT w.*, (SELECT r.oid FROM pg_roles r WHERE r.rolname = w.owner) AS owner_oid,
  (SELECT r.oid FROM pg_roles r WHERE r.rolname = session_user) AS admin_oid FROM w)"""
_PUBLICATION = """,
publication AS (SELECT b.oid, b.pubname, b.puballtables, b.pubupdate, b.pubdelete, b.xmin AS stamp, ARRAY(
    SELECT o.refobjid FROM pg_depend d
    JOIN pg_depend o ON o.classid = d.classid AND o.objid = d.objid AND o.refclassid = 'pg_namespace'::regclass
    WHERE d.refclassid = 'pg_publication'::regclass AND d.refobjid = b.oid
      AND d.classid = to_regclass('pg_catalog.pg_publication_namespace')) AS schemas
  FROM pg_publication b)"""
_SELECT = " SELECT jsonb_build_object(" + ",".join((_SERVER, _ROLES, _CLAIMANTS, _DATABASE))
_LOCAL = (
    ", 'local', CASE WHEN current_database() = p.db THEN jsonb_build_object("
    + ",".join((_SCHEMA, _RELATIONS, _GRANTS))
    + ") END"
)
# '{}' in the parts is an empty JSON object, not a placeholder.
_INSIDE = "".join((_WITH, _PUBLICATION, _SELECT, _LOCAL, ") FROM p")).replace("'{}'", "'{{}}'")
_OUTSIDE = "".join((_WITH, _SELECT, ", 'local', null) FROM p")).replace("'{}'", "'{{}}'")


def catalog_query(desired: Desired, *, inside: bool = True) -> sql.Composed:
    """Return the query for one storage: one row, one jsonb value, which `read` takes.

    With `inside` False nothing of what only the desired database knows: planning that is most of the work elsewhere.
    """
    return compose(
        _INSIDE if inside else _OUTSIDE,
        owner=sql.Literal(desired.owner),
        names=sql.Literal(sorted({desired.owner, *desired.logins, *filter(None, [desired.heir_of])})),
        schema=sql.Literal(desired.schema),
        tables=sql.Literal(list(TABLE_NAMES)),
        indexes=sql.Literal(list(INDEX_NAMES)),
        index_tables=sql.Literal([index.table for index in INDEXES]),
        db=sql.Literal(desired.database),
        extensions=sql.Literal(list(desired.extensions)),
        extension_schema=sql.Literal(EXTENSION_SCHEMA),
        dropping=sql.Literal(dropping_prefix(desired.database)),
        claims=sql.Literal(_claims(desired)),
    )


def _claims(desired: Desired) -> str | None:
    """Return how the markers begin that are looked for, None where it does not matter who else has one."""
    counted = desired.tenant is not None and desired.tenant.rivals is not None
    return claims_of(desired.identity.instance, desired.identity.namespace) if counted else None
