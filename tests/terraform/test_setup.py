"""The first boot's script, function by function: the firewall in an empty network, the checkout by git."""

import shutil
import subprocess

import pytest

from tests.terraform.user_data import SETUP

# As Oracle's images of Ubuntu have them, shortened: nothing new but SSH comes in.
ORACLE = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT
-A INPUT -j REJECT --reject-with icmp-host-prohibited
-A FORWARD -j REJECT --reject-with icmp-host-prohibited
COMMIT
"""
OPEN = "-A INPUT -p tcp -m conntrack --ctstate NEW -m tcp --dport {} -j ACCEPT"


def bash(script, *arguments, before=()):
    """Runs the script after the functions of setup.sh; $1 and on are the arguments."""
    command = [*before, "bash", "-c", f". {SETUP}\n{script}", "setup.sh", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def firewall(as_root, tmp_path):
    """Runs a script in an empty network, with what netfilter-persistent saves in a file of the test's."""
    rules = tmp_path / "rules"
    rules.write_text(ORACLE)
    save = tmp_path / "netfilter-persistent"
    save.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/saves\niptables-save >{tmp_path}/saved\n')
    save.chmod(0o755)

    def firewall(script):
        path = f"PATH={tmp_path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
        run = bash(script, rules, before=[*as_root, "unshare", "--net", "env", path])
        assert run.returncode == 0, run.stderr
        return run.stdout.splitlines()

    return firewall


def test_the_ports_open_before_everything_is_rejected(firewall, tmp_path):
    rules = firewall('iptables-restore <"$1"; open_firewall; iptables-save')
    reject = rules.index("-A INPUT -j REJECT --reject-with icmp-host-prohibited")
    assert {OPEN.format(80), OPEN.format(443)} == {rule for rule in rules[:reject] if "conntrack" in rule}
    assert not any(rule.startswith("-A INPUT") for rule in rules[reject + 1 :])
    assert (tmp_path / "saves").read_text() == "save\n"
    assert OPEN.format(443) in (tmp_path / "saved").read_text()


def test_opening_again_changes_and_saves_nothing(firewall, tmp_path):
    once = firewall('iptables-restore <"$1"; open_firewall; iptables --list-rules')
    twice = firewall('iptables-restore <"$1"; open_firewall; open_firewall; iptables --list-rules')
    assert once == twice
    assert (tmp_path / "saves").read_text() == "save\n" * 2  # one for each call of ours


def test_ports_open_where_nothing_is_rejected(firewall):
    assert OPEN.format(80) in firewall("open_firewall; iptables-save")


def test_containers_do_not_reach_the_machines_identity(firewall):
    rules = firewall("open_firewall; iptables --table raw --list-rules PREROUTING")
    assert rules[1:] == ["-A PREROUTING -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -j DROP"]


@pytest.fixture
def origin(tmp_path):
    """A repository whose bootstrap.sh is its version: first, tagged v1, and second, on the branch main."""
    folder = tmp_path / "origin"
    (folder / "deploy").mkdir(parents=True)

    git_program = shutil.which("git")

    def git(*arguments):
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
        run = subprocess.run(
            [git_program, "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True
        )
        return run.stdout.strip()

    git("init", "--quiet", "--initial-branch=main")
    for version in ("first", "second"):
        (folder / "deploy/bootstrap.sh").write_text(version)
        git("add", ".")
        git("commit", "--quiet", "--message", version)
        if version == "first":
            git("tag", "v1")
    return folder, git


@pytest.mark.parametrize(
    ("ref", "version"),
    [("main", "second"), ("v1", "first"), ("HEAD~1", "first")],
    ids=["branch", "tag", "commit"],
)
def test_the_checkout_is_what_was_asked_for(origin, tmp_path, ref, version):
    folder, git = origin
    ref = git("rev-parse", ref) if "~" in ref else ref
    script = "REPOSITORY_URL=$1 REPOSITORY_REF=$2 checkout=$3; clone"
    run = bash(script, folder, ref, tmp_path / "checkout")
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "checkout/deploy/bootstrap.sh").read_text() == version


def test_a_checkout_that_is_there_stays(origin, tmp_path):
    folder, _ = origin
    script = "REPOSITORY_URL=$1 checkout=$2; REPOSITORY_REF=v1 clone; REPOSITORY_REF=main clone"
    assert bash(script, folder, tmp_path / "checkout").returncode == 0
    assert (tmp_path / "checkout/deploy/bootstrap.sh").read_text() == "first"


def test_a_half_made_checkout_is_completed(origin, tmp_path):
    folder, _ = origin
    script = (
        "REPOSITORY_URL=$1 checkout=$2; (REPOSITORY_REF=no-such clone) || true; REPOSITORY_REF=main clone"
    )
    assert bash(script, folder, tmp_path / "checkout").returncode == 0
    assert (tmp_path / "checkout/deploy/bootstrap.sh").read_text() == "second"


def test_retrying_ends_with_a_word_about_what_failed():
    run = bash("retry 0 false")
    assert run.returncode == 1
    assert run.stderr == "setup: gave up: false\n"


def test_settings_that_are_missing_end_it_at_once(tmp_path):
    run = bash("host_env=$1; main", tmp_path / "host.env")
    assert run.returncode != 0
    assert "host.env" in run.stderr
