"""The catalog relations the product itself vouches for, each with its harmless columns.

They say how the database is shaped, never what is in it: no statistics (reltuples counts rows, pg_stats holds values),
no defaults or expressions (they may spell a value), no definitions, no privileges. Everything else in pg_catalog and
information_schema is out of bounds for every policy.
"""

from __future__ import annotations

from typing import Final

METADATA: Final[dict[str, frozenset[str]]] = {
    name: frozenset(columns.split())
    for name, columns in {
        "information_schema.tables": "table_catalog table_schema table_name table_type is_insertable_into is_typed",
        "information_schema.columns": (
            "table_catalog table_schema table_name column_name ordinal_position is_nullable data_type"
            " character_maximum_length numeric_precision numeric_scale datetime_precision udt_schema udt_name"
            " is_identity is_generated is_updatable domain_schema domain_name collation_name"
        ),
        "information_schema.schemata": "catalog_name schema_name",
        "information_schema.views": "table_catalog table_schema table_name check_option is_updatable is_insertable_into",
        "pg_catalog.pg_class": "oid relname relnamespace reltype relkind relpersistence relispartition relnatts relhasindex",
        "pg_catalog.pg_namespace": "oid nspname",
        "pg_catalog.pg_attribute": (
            "attrelid attname atttypid attnum atttypmod attnotnull atthasdef attidentity attgenerated attisdropped attndims"
        ),
        "pg_catalog.pg_type": "oid typname typnamespace typtype typcategory typrelid typelem typarray typbasetype",
        "pg_catalog.pg_index": "indexrelid indrelid indnatts indnkeyatts indisunique indisprimary indisvalid indkey",
        "pg_catalog.pg_constraint": "oid conname connamespace contype conrelid confrelid conkey confkey",
    }.items()
}

SYSTEM_SCHEMAS: Final = frozenset({"pg_catalog", "information_schema", "pg_toast"})
