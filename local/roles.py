"""The two database roles: the owner, who has the schema, and the API's, who gets what migrations grant it.

`python -m local.roles` makes them on a server of yours; it needs psycopg2 and nothing else of this package.
"""

import os
import sys
from dataclasses import dataclass, field

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT, cursor, encrypt_password, parse_dsn

_CONNECT_SECONDS = 10


@dataclass(frozen=True)
class Role:
    """A login role and its password."""

    name: str
    password: str = field(repr=False)


def provision(admin_url: str, database: str, owner: Role, api: Role, *, createdb: bool = False) -> bool:
    """Make the two login roles and the owner's database, or bring them to this state. Idempotent.

    Passwords are set anew each time. Neither role is a superuser or may create roles; `createdb` lets the
    owner create databases (tests). The API's role may connect and nothing else; others may not connect.
    Returns whether the database is new. Raises `psycopg2.Error`.
    """
    connection = psycopg2.connect(admin_url, connect_timeout=_CONNECT_SECONDS)
    try:
        connection.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)  # CREATE DATABASE allows no transaction
        with connection.cursor() as cur:
            _set_role(cur, owner, createdb=createdb)
            _set_role(cur, api, createdb=False)
            return _set_database(cur, database, owner, api)
    finally:
        connection.close()


def main() -> None:
    """Provision what DATABASE_URL (the owner) and API_DATABASE_URL name, as POSTGRES_ADMIN_URL's superuser.

    A wrong or missing variable, or a server that refuses, ends the process with one line that says so.
    """
    _read("POSTGRES_ADMIN_URL")
    database, owner = _read("DATABASE_URL")
    api_database, api = _read("API_DATABASE_URL")
    if api_database != database:
        sys.exit(f"Cannot start: API_DATABASE_URL: expected the database {database}, as in DATABASE_URL.")
    if api.name == owner.name:
        sys.exit(f"Cannot start: API_DATABASE_URL: expected another role than {owner.name}, the owner.")
    try:
        new = provision(os.environ["POSTGRES_ADMIN_URL"], database, owner, api)
    except psycopg2.Error as exc:
        sys.exit(f"The roles were not made: {' '.join(str(exc).split())}")
    sys.stderr.write(
        f"Roles {owner.name} and {api.name}; database {database} {'made' if new else 'was there'}.\n"
    )


def _read(variable: str) -> tuple[str, Role]:
    """The database and the role that an address in the environment names."""
    try:
        parts = parse_dsn(os.environ.get(variable, ""))
        return parts["dbname"], Role(parts["user"], parts["password"])
    except (psycopg2.ProgrammingError, KeyError):
        # Not in its words: they may quote the address, and so the password.
        sys.exit(
            f"Cannot start: {variable}: expected postgresql://user:password@host:port/name, the password"
            " URL-encoded."
        )


def _set_role(cur: cursor, role: Role, *, createdb: bool) -> None:
    # The verifier is computed here, so that the password itself can stand in no log of the server.
    verifier = encrypt_password(role.password, role.name, scope=cur, algorithm="scram-sha-256")
    cur.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role.name,))
    statement = sql.SQL(
        "{verb} ROLE {name} LOGIN NOSUPERUSER NOCREATEROLE NOREPLICATION NOBYPASSRLS {createdb}"
        " PASSWORD {password}"
    ).format(
        verb=sql.SQL("CREATE" if cur.fetchone() is None else "ALTER"),
        name=sql.Identifier(role.name),
        createdb=sql.SQL("CREATEDB" if createdb else "NOCREATEDB"),
        password=sql.Literal(verifier),
    )
    cur.execute(statement)


def _set_database(cur: cursor, database: str, owner: Role, api: Role) -> bool:
    names = {
        "database": sql.Identifier(database),
        "owner": sql.Identifier(owner.name),
        "api": sql.Identifier(api.name),
    }
    cur.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,))
    new = cur.fetchone() is None
    verb = "CREATE DATABASE {database} OWNER {owner}" if new else "ALTER DATABASE {database} OWNER TO {owner}"
    cur.execute(sql.SQL(verb).format(**names))
    cur.execute(sql.SQL("REVOKE ALL ON DATABASE {database} FROM PUBLIC, {api}").format(**names))
    cur.execute(sql.SQL("GRANT CONNECT ON DATABASE {database} TO {api}").format(**names))
    return new


if __name__ == "__main__":
    main()
