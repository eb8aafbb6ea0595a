"""From desired and observed to the steps that are missing: roles, database, schema, relations, extensions, removal."""
