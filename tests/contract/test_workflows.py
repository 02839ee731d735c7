"""The workflows hold no logic and no versions of their own: they call what is here, on the same images."""

import os
import re
import subprocess

import pytest
import yaml

from tests.servers import PROJECT

TEXTS = {path.name: path.read_text() for path in PROJECT.glob(".github/workflows/*.yml")}
WORKFLOWS = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
JOBS = {(name, job): body for name, flow in WORKFLOWS.items() for job, body in flow["jobs"].items()}
COMPOSE = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]


def steps():
    for (name, job), body in JOBS.items():
        for step in body.get("steps", []):
            if "run" in step:
                yield pytest.param(step["run"], body, id=f"{name}-{job}-{step['run']}")


@pytest.mark.parametrize(("command", "job"), list(steps()))
def test_each_step_of_ours_is_a_make_target_or_a_script(command, job):
    program, *arguments = command.split(" ", 1)
    if program != "make":
        assert os.access(PROJECT / program, os.X_OK)
        return
    if arguments == ["${{ matrix.target }}"]:
        arguments = [case["target"] for case in job["strategy"]["matrix"]["include"]]
    for target in arguments:
        assert re.search(rf"^{re.escape(target)}:.* ## ", (PROJECT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", TEXTS)
def test_actions_are_pinned_by_commit_and_say_their_version(name):
    uses = [line for line in TEXTS[name].splitlines() if "uses:" in line and "uses: ./" not in line]
    assert uses
    for line in uses:
        assert re.search(r"uses: [\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


def test_one_action_has_one_commit():
    pins = {pin for text in TEXTS.values() for pin in re.findall(r"uses: ([\w/-]+)@(\w+)", text)}
    assert len(pins) == len({action for action, _ in pins})


def test_the_services_are_the_containers():
    services = JOBS["ci.yml", "services"]["services"]
    assert {name: service["image"] for name, service in services.items()} == {
        name: COMPOSE[name]["image"] for name in services
    }


def test_the_published_images_are_those_that_compose_names():
    published = {case["image"] for case in JOBS["ci.yml", "images"]["strategy"]["matrix"]["include"]}
    images = {re.sub(r"\$\{[^}]*\}", "", service["image"]) for service in COMPOSE.values()}
    assert published == {image.removesuffix(":") for image in images if image.startswith("rate-limiter-")}


def test_dependabot_looks_at_every_requirements_file():
    updates = yaml.safe_load((PROJECT / ".github/dependabot.yml").read_text())["updates"]
    [folders] = [update["directories"] for update in updates if update["package-ecosystem"] == "pip"]
    files = {*PROJECT.glob("*/requirements.in"), *PROJECT.glob("requirements-*.in")}
    assert {(PROJECT / folder.removeprefix("/")) for folder in folders} == {file.parent for file in files}


@pytest.mark.parametrize("missing", ["VERSION", "SSH_KEY", "KNOWN_HOSTS", "DEPLOY_API_HOST"])
def test_a_deployment_that_lacks_something_says_so_and_leaves_no_key_behind(missing, tmp_path):
    given = {"VERSION": "main", "SSH_KEY": "the-key", "KNOWN_HOSTS": "the-hosts", "DEPLOY_API_HOST": "h"}
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)} | given | {missing: ""}
    done = subprocess.run(
        [PROJECT / ".ci/deploy"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"{missing} is not set" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_only_known_programs_are_installed():
    done = subprocess.run([PROJECT / ".ci/tools", "nonsense"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "nonsense: expected one of" in done.stderr
