"""What docker-compose.yml promises of each container: who runs it, what it may write, what it knows."""

import re

import pytest

from tests.servers import PROJECT
from tests.stack.stack import docker

SECRETS = {
    "postgres": {"POSTGRES_PASSWORD"},
    "redis": {"REDIS_PASSWORD"},
    "roles": {"POSTGRES_PASSWORD", "OWNER_DATABASE_PASSWORD", "API_DATABASE_PASSWORD"},
    "migrate": {"OWNER_DATABASE_PASSWORD", "DJANGO_SECRET_KEY", "DJANGO_SUPERUSER_PASSWORD", "API_TOKEN"},
    "fastapi": {"API_DATABASE_PASSWORD", "REDIS_PASSWORD", "ADMIN_API_TOKEN"},
    "django": {"OWNER_DATABASE_PASSWORD", "DJANGO_SECRET_KEY", "API_TOKEN", "WEBHOOK_SECRET_KEY"},
    "notices": {"OWNER_DATABASE_PASSWORD", "DJANGO_SECRET_KEY", "WEBHOOK_SECRET_KEY"},
    "rules": {"OWNER_DATABASE_PASSWORD", "DJANGO_SECRET_KEY"},
    "nginx": set(),
    "prometheus": set(),
}
RUNNING = sorted(SECRETS.keys() - {"roles", "migrate"})
REQUIRED = set(re.findall(r"\$\{(\w+):\?", (PROJECT / "docker-compose.yml").read_text(encoding="utf-8")))


def seen(stack, text):
    return {name for name, secret in stack.secrets.items() if secret in text}


@pytest.mark.parametrize("service", SECRETS)
def test_a_container_has_its_own_secrets_and_no_others(stack, service):
    assert seen(stack, "\n".join(stack.inspect(service)["Config"]["Env"])) == SECRETS[service]


@pytest.mark.parametrize("service", RUNNING)
def test_no_process_is_root_or_shows_a_secret(stack, service):
    titles, *processes = docker("top", stack.container(service), "-eo", "pid,uid,args").splitlines()
    assert titles.split() == ["PID", "UID", "COMMAND"]
    assert processes
    assert {process for process in processes if process.split()[1] == "0"} == set()
    assert seen(stack, "\n".join(processes)) == set()


@pytest.mark.parametrize("service", SECRETS)
def test_no_container_can_change_its_image_or_gain_rights(stack, service):
    host = stack.inspect(service)["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"] or service == "postgres"
    assert host["SecurityOpt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("service", SECRETS)
def test_memory_and_logs_are_bounded(stack, service):
    host = stack.inspect(service)["HostConfig"]
    assert host["Memory"] > 0
    assert host["LogConfig"]["Type"] == "json-file"
    assert host["LogConfig"]["Config"]["max-size"]


def test_the_stores_are_not_published(stack):
    for service in ("postgres", "redis"):
        ports = stack.inspect(service)["NetworkSettings"]["Ports"]
        assert [bound for bound in ports.values() if bound] == []


def test_no_secret_stands_in_a_log(stack):
    assert seen(stack, stack.logs()) == set()


def test_the_jobs_can_run_again(stack):
    before = stack.sql("SELECT count(*) FROM auth_user")
    for job in ("roles", "migrate"):
        stack.compose("run", "--rm", "--no-deps", "-T", job)
    assert stack.sql("SELECT count(*) FROM auth_user") == before
    assert stack.is_healthy("fastapi")


@pytest.mark.parametrize("name", sorted(REQUIRED))
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_secret_stops_compose_by_its_name(stack, name, value):
    values = {key: each for key, each in stack.values.items() if key != name}
    if value is not None:
        values[name] = value
    done = stack.try_compose(values, "config")
    assert done.returncode != 0
    assert f"set {name} (make env)" in done.stderr
    assert seen(stack, done.stderr) == set()
