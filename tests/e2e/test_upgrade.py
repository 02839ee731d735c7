"""An upgrade as DEPLOYMENT.md has it: migrate while the old version serves, then start the new one."""

import io
import secrets
import signal
import subprocess
import tarfile
from urllib.parse import urlsplit

import pytest
from django.db.migrations.loader import MigrationLoader

from api_manager.management.commands.migrate import LOCK_TIMEOUT_SECONDS
from local.roles import provision
from tests.load import Load
from tests.servers import API, OWNER, PROJECT, Database, execute, manage, run_in_admin
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(240)

REQUIREMENTS = "fastapi-service/requirements.txt"
MIGRATIONS = "django-admin/api_manager/migrations"


@pytest.fixture(scope="module")
def graph():
    return MigrationLoader(None).graph


@pytest.fixture(scope="module")
def last(graph):
    """The name of our last migration."""
    [(_, name)] = graph.leaf_nodes("api_manager")
    return name


@pytest.fixture
def old_version(graph, last, tmp_path):
    """The API before the last migration came, out of git's history: its folder, and its last migration.

    The present version takes its place where the history does not reach so far. Where the packages have
    changed since then the test is skipped, and says so: the old version would have to run on the new ones.
    """
    file = f"{MIGRATIONS}/{last}.py"
    added = git("log", "--first-parent", "--diff-filter=A", "--format=%H", "--", file).decode().split()
    commit = f"{added[0]}^" if added else "HEAD"  # not committed yet: all that is committed is older
    packages = git("show", f"{commit}:{REQUIREMENTS}")
    if not packages:
        before = max(parent.key[1] for parent in graph.node_map["api_manager", last].parents)
        return PROJECT / "fastapi-service", before
    if packages != (PROJECT / REQUIREMENTS).read_bytes():
        pytest.skip("packages have changed since the last migration: the old version cannot run on them")
    with tarfile.open(fileobj=io.BytesIO(git("archive", commit, "fastapi-service"))) as archive:
        archive.extractall(tmp_path, filter="data")
    files = git("ls-tree", "--name-only", f"{commit}:{MIGRATIONS}").decode().split()
    names = {file.removesuffix(".py") for file in files}
    return tmp_path / "fastapi-service", max(name for app, name in graph.nodes if name in names)


@pytest.fixture
def database(postgres, graph, old_version):
    """A database as the old version has it."""
    name = f"test_{secrets.token_hex(8)}"
    provision(postgres.admin_url, name, OWNER, API, createdb=True)
    others = sorted({app for app, _ in graph.nodes} - {"api_manager"})
    targets = [("api_manager", old_version[1]), *((app,) for app in others)]
    run_in_admin(
        postgres.url(name, OWNER),
        "from django.core.management import call_command\n"
        + "\n".join(f"call_command('migrate', *{target})" for target in targets),
    )
    admin_url = urlsplit(postgres.admin_url)._replace(path=f"/{name}").geturl()
    yield Database(name, postgres.url(name, OWNER), postgres.url(name, API), admin_url)
    execute(postgres.admin_url, f"DROP DATABASE {name} WITH (FORCE)")


def git(*arguments):
    """What git prints; nothing where there is no git, no repository, or no such commit."""
    try:
        done = subprocess.run(["git", *arguments], cwd=PROJECT, check=False, capture_output=True)  # noqa: S607
    except FileNotFoundError:
        return b""
    return done.stdout


def migrations(database):
    return {name for (name,) in database.sql("SELECT name FROM django_migrations WHERE app = 'api_manager'")}


def test_from_the_previous_migration_under_load_without_a_failed_request(start, database, old_version, last):
    assert last not in migrations(database)
    variables = {"DECISION_TIMEOUT_SECONDS": "5"}  # a busy machine is not what this is about
    old = start(folder=old_version[0], **variables)
    load = Load(old.url, old.key)
    with load.running():
        load.go_on()
        manage(database.owner_url, "migrate", "--no-input")
        assert last in migrations(database)
        load.go_on()
        new = start(**variables)
        load.move_to(new.url)
        old.process.send_signal(signal.SIGTERM)
        assert old.process.wait(15) == 0
        load.go_on()

    assert set(load.decisions) <= {200, 429}, load.decisions
    assert set(load.management) == {201, 204}, load.management
    assert load.slowest_seconds < LOCK_TIMEOUT_SECONDS
    by_status = "SELECT status_code, sum(count) FROM request_log GROUP BY 1"
    wait_for(lambda: dict(database.sql(by_status)) == load.decisions, seconds=30)
