"""Reads the SQL that stands beside the migrations."""

from pathlib import Path


def read_sql(name: str) -> str:
    """The text of ``sql/<name>.sql``; like a migration, it is never edited once released."""
    return (Path(__file__).parent / "sql" / f"{name}.sql").read_text(encoding="utf-8")
