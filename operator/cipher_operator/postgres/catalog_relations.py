"""The part of the catalog query that is about Cipher's tables: what they are made of, and what others did to them.

A session is new for each look, so a server spends most of it on planning, which grows with the subqueries: what one
catalog says of a table is asked by one, not by one for each fact. It takes no lock either: a bound is read as text,
pg_get_expr would lock.

What PostgreSQL 15 has and 13 does not cannot be named: a row as JSON can (`conenforced` is 18's), and which schemas a
publication has stands in a catalog of 15 and later, but what depends on what in all.
`written` is another when a row of what a table is made of, or of what that uses, was written anew, by its xmin.
"""

from cipher_operator.postgres.catalog_memberships import granting

# Asked of all tables at once: else the schemas of each publication are looked for anew for each table.
PUBLICATION = """,
publication AS MATERIALIZED (SELECT b.oid, b.pubname, b.puballtables, b.pubupdate, b.pubdelete, b.xmin AS stamp, ARRAY(
    SELECT o.refobjid FROM pg_depend d
    JOIN pg_depend o ON o.classid = d.classid AND o.objid = d.objid AND o.refclassid = 'pg_namespace'::regclass
    WHERE d.refclassid = 'pg_publication'::regclass AND d.refobjid = b.oid
      AND d.classid = to_regclass('pg_catalog.pg_publication_namespace')) AS schemas
  FROM pg_publication b)"""

_COLUMNS = """(SELECT jsonb_build_object(
    'columns', COALESCE(jsonb_object_agg(a.attname, jsonb_build_array(format_type(a.atttypid, a.atttypmod),
         a.attnotnull, a.atthasdef OR a.attidentity <> '' OR a.attgenerated <> '',
         CASE WHEN a.attgenerated = 'v' THEN 'virtual' WHEN a.attgenerated <> '' THEN 'generated'
           WHEN a.attidentity = 'a' THEN 'identity' ELSE '' END,
         COALESCE(l.collisdeterministic, true), a.attlen = -1 AND a.attstorage = 'p')), '{}'),
    'collations', COALESCE(jsonb_agg(DISTINCT l.collname) FILTER (WHERE l.collversion IS NOT NULL
         AND l.collversion <> pg_collation_actual_version(a.attcollation)), '[]'))
  FROM pg_attribute a LEFT JOIN pg_collation l ON l.oid = a.attcollation
  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)"""

_CONSTRAINTS = """(SELECT jsonb_build_object(
    'pk', COALESCE((SELECT jsonb_agg(a.attname ORDER BY array_position(co.conkey, a.attnum)) FROM pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum = ANY (co.conkey)), '[]'),
    'key_deferrable', COALESCE(co.deferrable, false),
    'constraints', co.others, 'simple_keys', co.simple_keys)
  FROM (SELECT min(o.conkey) FILTER (WHERE o.contype = 'p') AS conkey,
      bool_or(o.condeferrable) FILTER (WHERE o.contype = 'p') AS deferrable,
      COALESCE(jsonb_agg(jsonb_build_array(o.conname, o.contype) ORDER BY o.conname) FILTER (WHERE o.contype
        IN ('c', 'f', 'x') AND COALESCE(to_jsonb(o) ->> 'conenforced', 'true') = 'true'), '[]') AS others,
      COALESCE(jsonb_object_agg(o.conname, ARRAY(SELECT a.attname::text FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum = ANY (o.conkey))) FILTER (
        WHERE o.contype = 'f' AND o.confmatchtype = 's'), '{}') AS simple_keys
    FROM pg_constraint o WHERE o.conrelid = c.oid) co)"""

_INDEXES = """(SELECT jsonb_build_object(
    'indexes', COALESCE(jsonb_object_agg(ic.relname, jsonb_build_object(
         'valid', i.indisvalid AND i.indisready AND i.indislive,
         'building', NOT i.indisvalid
           AND EXISTS (SELECT 1 FROM pg_stat_progress_create_index b WHERE b.index_relid = i.indexrelid),
         'plain', am.amname = 'btree' AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnatts = i.indnkeyatts
           AND NOT i.indisunique,
         'unique', i.indisunique, 'primary', i.indisprimary, 'partial', i.indpred IS NOT NULL,
         'nulls_alike', COALESCE(to_jsonb(i) ->> 'indnullsnotdistinct', 'false') = 'true',
         'constraint', (SELECT co.conname FROM pg_constraint co WHERE co.conrelid = c.oid AND co.conindid = ic.oid
           AND co.contype IN ('p', 'u', 'x')),
         'columns', (SELECT jsonb_agg(a.attname ORDER BY k.n) FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(att, n)
            LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.att WHERE k.n <= i.indnkeyatts))), '{}'),
    'replica_identity', concat_ws(' ', c.relreplident, max(ic.relname::text) FILTER (WHERE i.indisreplident)),
    'identified', c.relreplident = 'f' OR COALESCE(bool_or(i.indisvalid AND CASE c.relreplident
         WHEN 'd' THEN i.indisprimary AND i.indimmediate WHEN 'i' THEN i.indisreplident END), false))
  FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_am am ON am.oid = ic.relam
  WHERE i.indrelid = c.oid)"""

# A recursion that begins with one row is expected to yield few, and an array to hold ten: else, where there are many
# partitions, the planner reads all of pg_class for them, and takes the query for one worth compiling (JIT).
_PARTS = """(WITH RECURSIVE part AS (SELECT c.oid, NULL::oid AS parent
     UNION SELECT h.inhrelid, h.inhparent FROM pg_inherits h JOIN part ON h.inhparent = part.oid),
   found AS (SELECT array_agg(part.oid) AS oids, array_agg(part.parent) AS parents FROM part
     WHERE part.parent IS NOT NULL)
  SELECT jsonb_build_object(
    'unlogged_parts', COALESCE(jsonb_agg(k.relname ORDER BY k.relname) FILTER (
         WHERE c.relkind = 'p' AND k.relpersistence = 'u'), '[]'),
    'children', COALESCE(jsonb_agg(k.relname ORDER BY k.relname) FILTER (
         WHERE c.relkind <> 'p' AND d.parent = c.oid), '[]'),
    'plain_in_parts', COALESCE((SELECT jsonb_agg(DISTINCT a.attname) FROM found
       CROSS JOIN LATERAL unnest(found.oids) e(oid) JOIN pg_attribute a ON a.attrelid = e.oid
       WHERE c.relkind = 'p' AND a.attnum > 0 AND a.attlen = -1 AND a.attstorage = 'p'), '[]'),
    'gap', EXISTS (SELECT 1 FROM pg_partitioned_table t
       WHERE t.partrelid = ANY (c.oid || (SELECT found.oids FROM found)) AND t.partdefid = 0
         AND NOT (t.partstrat = 'h' AND COALESCE((SELECT abs(1 - sum(
           1.0 / substring(b.relpartbound::text FROM ':modulus ([0-9]+)')::int)) < 1e-9
           FROM found CROSS JOIN LATERAL unnest(found.oids, found.parents) e(oid, parent)
           JOIN pg_class b ON b.oid = e.oid WHERE e.parent = t.partrelid), false))))
  FROM found CROSS JOIN LATERAL unnest(found.oids, found.parents) d(oid, parent) JOIN pg_class k ON k.oid = d.oid)"""

_TRIGGERS = """(SELECT jsonb_build_object(
    'triggers', COALESCE(jsonb_agg(t.tgname ORDER BY t.tgname) FILTER (
         WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')), '[]'),
    'references', COALESCE(jsonb_agg(DISTINCT jsonb_build_array(co.conname, o.relname)) FILTER (
         WHERE o.oid IS NOT NULL), '[]'))
  FROM pg_trigger t
  LEFT JOIN pg_constraint co ON co.oid = t.tgconstraint AND t.tgisinternal AND co.contype = 'f'
    AND co.confrelid = c.oid AND co.conrelid <> c.oid
  LEFT JOIN pg_class o ON o.oid = co.conrelid
  WHERE t.tgrelid = c.oid)"""

_RULES = """(SELECT jsonb_build_object(
    'rules', COALESCE(jsonb_agg(jsonb_build_array(w.rulename, w.ev_type) ORDER BY w.rulename) FILTER (
         WHERE w.ev_type <> '1' AND w.ev_enabled IN ('O', 'A')), '[]'))
  FROM pg_rewrite w WHERE w.ev_class = c.oid)"""

_POLICIES = """(SELECT jsonb_build_object(
    'policies', COALESCE(jsonb_agg(l.polname ORDER BY l.polname), '[]'))
  FROM pg_policy l WHERE l.polrelid = c.oid)"""

_PUBLICATIONS = """(SELECT jsonb_build_object(
    'publications', COALESCE(jsonb_agg(jsonb_build_array(b.pubname, b.pubupdate OR b.pubdelete) ORDER BY b.pubname)
         FILTER (WHERE b.puballtables OR c.relnamespace = ANY (b.schemas) OR l.oid IS NOT NULL), '[]'),
    'written_publications', hashtextextended(string_agg(
         concat_ws(' ', b.oid, b.stamp, l.oid, l.xmin), ',' ORDER BY b.oid), 0)::text)
  FROM publication b LEFT JOIN pg_publication_rel l ON l.prpubid = b.oid AND l.prrelid = c.oid)"""

# Until 13 a plain role may not read pg_subscription.oid; the view, which has a row for each worker, is for everybody.
_SUBSCRIPTIONS = """(SELECT jsonb_build_object(
    'subscriptions', COALESCE(jsonb_agg(jsonb_build_array(
         (SELECT min(u.subname) FROM pg_stat_subscription u WHERE u.subid = r.srsubid), r.srsubstate IN ('r', 's'))
         ORDER BY r.srsubid), '[]'))
  FROM pg_subscription_rel r WHERE r.srrelid = c.oid)"""

# From a table on to what belongs to it (partitions too), and to what that needs: functions, domains, sequences. A table
# of others, which a foreign key or a policy names, is where it ends: what is done to that is no concern of Cipher's.
_WRITTEN = """(WITH RECURSIVE used(classid, objid, own) AS (SELECT 'pg_class'::regclass::oid, c.oid, true
     UNION SELECT n.classid, n.objid, n.own FROM used CROSS JOIN LATERAL (
         SELECT d.classid, d.objid, true AS own FROM pg_depend d WHERE d.refclassid = used.classid
           AND d.refobjid = used.objid AND d.deptype IN ('a', 'i', 'P', 'S') AND used.own
           AND d.classid <> 'pg_type'::regclass
         UNION ALL
         SELECT d.refclassid, d.refobjid, d.refclassid <> 'pg_class'::regclass FROM pg_depend d
         WHERE d.classid = used.classid AND d.objid = used.objid AND d.deptype = 'n'
           AND d.refclassid <> 'pg_namespace'::regclass) n),
   found AS (SELECT array_agg(used.classid) AS classids, array_agg(used.objid) AS objids FROM used)
  SELECT jsonb_build_object('written', hashtextextended(string_agg(w.stamp, ',' ORDER BY w.stamp), 0)::text)
  FROM (SELECT concat_ws(' ', used.classid, used.objid, CASE used.classid
     WHEN 'pg_class'::regclass THEN (SELECT concat_ws(' ', k.xmin, q.xmin,
         (SELECT string_agg(concat_ws(' ', a.attnum, a.xmin), ',' ORDER BY a.attnum) FROM pg_attribute a
          WHERE a.attrelid = k.oid AND k.relkind IN ('r', 'p')))
       FROM pg_class k LEFT JOIN pg_sequence q ON q.seqrelid = k.oid WHERE k.oid = used.objid)
     WHEN 'pg_proc'::regclass THEN (SELECT f.xmin::text FROM pg_proc f WHERE f.oid = used.objid)
     WHEN 'pg_type'::regclass THEN (SELECT y.xmin::text FROM pg_type y WHERE y.oid = used.objid)
     WHEN 'pg_constraint'::regclass THEN (SELECT o.xmin::text FROM pg_constraint o WHERE o.oid = used.objid)
     WHEN 'pg_trigger'::regclass THEN (SELECT t.xmin::text FROM pg_trigger t WHERE t.oid = used.objid)
     WHEN 'pg_rewrite'::regclass THEN (SELECT w.xmin::text FROM pg_rewrite w WHERE w.oid = used.objid)
     WHEN 'pg_policy'::regclass THEN (SELECT l.xmin::text FROM pg_policy l WHERE l.oid = used.objid) END) AS stamp
   FROM found CROSS JOIN LATERAL unnest(found.classids, found.objids) used(classid, objid)) w)"""

_OTHERS = (_TRIGGERS, _RULES, _POLICIES, _PUBLICATIONS, _SUBSCRIPTIONS)
_FACTS = " || ".join((_COLUMNS, _CONSTRAINTS, _INDEXES, _PARTS, *_OTHERS, _WRITTEN))

RELATIONS = (
    """
'relations', COALESCE((SELECT jsonb_object_agg(c.relname, jsonb_build_object(
    'kind', c.relkind, 'owner', pg_get_userbyid(c.relowner), 'owner_usage', pg_has_role(c.relowner, 'USAGE'),
    'owner_admin', pg_has_role(c.relowner, 'MEMBER WITH ADMIN OPTION'),
    'owner_grants', """
    + granting("c.relowner")
    + """,
    'owner_rolsuper', (SELECT r.rolsuper FROM pg_roles r WHERE r.oid = c.relowner),
    'owner_comment', left(shobj_description(c.relowner, 'pg_authid'), 4096),
    'owner_has_all', (SELECT bool_and(has_table_privilege(c.relowner, c.oid, w.priv))
       FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) w(priv)),
    'comment', left(obj_description(c.oid, 'pg_class'), 4096),
    'pages', c.relpages, 'unlogged', c.relpersistence = 'u', 'partition', c.relispartition,
    'grantees', (SELECT COALESCE(jsonb_agg(DISTINCT
         CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END), '[]')
       FROM aclexplode(c.relacl) a WHERE a.grantee <> c.relowner),
    'row_security', c.relrowsecurity AND c.relforcerowsecurity AND NOT COALESCE(
       (SELECT r.rolsuper OR r.rolbypassrls FROM pg_roles r WHERE r.oid = p.owner_oid), false))
    || """
    + _FACTS
    + """)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = p.schema AND c.relname = ANY (p.tables)), '{}'),
'taken_types', COALESCE((SELECT jsonb_agg(y.typname ORDER BY y.typname) FROM pg_type y
  JOIN pg_namespace n ON n.oid = y.typnamespace
  WHERE n.nspname = p.schema AND y.typname = ANY (p.tables) AND y.typrelid = 0), '[]'),
'taken', COALESCE((SELECT jsonb_object_agg(ic.relname, COALESCE(t.relname, 'another relation'))
  FROM pg_class ic JOIN pg_namespace n ON n.oid = ic.relnamespace
  LEFT JOIN pg_index i ON i.indexrelid = ic.oid LEFT JOIN pg_class t ON t.oid = i.indrelid
  WHERE n.nspname = p.schema AND ic.relname = ANY (p.indexes)
    AND NOT (t.relname IS NOT NULL AND p.index_tables[array_position(p.indexes, ic.relname)] = t.relname)), '{}')
"""
)
