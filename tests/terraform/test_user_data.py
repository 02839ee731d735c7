"""What a machine is told at its first boot."""

import os
import subprocess

import pytest

from tests.terraform.user_data import HOST_ENV, SETUP, variables, written

# What cloud-init reads of it; unknown words at the top would pass its schema, and do nothing.
KNOWN = {"disable_root", "runcmd", "ssh_pwauth", "swap", "write_files"}


@pytest.mark.parametrize("swap_gb", [0, 2])
def test_cloud_init_accepts_it(render, parsed, cloud_init, tmp_path, swap_gb):
    command, environment = cloud_init
    file = tmp_path / "user-data.yaml"
    file.write_text(render(swap_gb=swap_gb)[0], encoding="utf-8")
    run = subprocess.run(
        [*command, "schema", "--config-file", file],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Valid" in run.stdout
    assert set(parsed(swap_gb=swap_gb)) == KNOWN - (set() if swap_gb else {"swap"})


def test_it_begins_as_cloud_init_expects(render):
    assert render()[0].startswith("#cloud-config\n")


def test_it_leaves_room_for_keys(render):
    assert len(render(swap_gb=2)[1]) < 16_000


def test_settings_arrive_unchanged(parsed):
    assert variables(written(parsed(), "/etc/rate-limiter/host.env")) == HOST_ENV


def test_the_script_arrives_unchanged(parsed):
    user_data = parsed()
    assert written(user_data, "/usr/local/sbin/rate-limiter-setup") == SETUP.read_text(encoding="utf-8")
    assert user_data["runcmd"] == [["/usr/local/sbin/rate-limiter-setup"]]


@pytest.mark.parametrize("value", ['"\nruncmd:\n  - [reboot]\n', "x\n  - path: /etc/passwd", "#", "{{", "…"])
def test_no_value_breaks_out_of_its_place(parsed, value):
    user_data = parsed({"ROLE": "api", "API_DOMAIN": value})
    assert written(user_data, "/etc/rate-limiter/host.env") == f"API_DOMAIN={value}\nROLE=api\n"
    assert user_data["runcmd"] == [["/usr/local/sbin/rate-limiter-setup"]]


def test_swap_where_memory_is_short(parsed):
    assert parsed(swap_gb=2)["swap"] == {"filename": "/swap.img", "size": "2G"}


def test_ssh_takes_keys_only(parsed):
    user_data = parsed()
    sshd = written(user_data, "/etc/ssh/sshd_config.d/10-rate-limiter.conf").splitlines()
    assert {"PermitRootLogin no", "PasswordAuthentication no", "KbdInteractiveAuthentication no"} <= set(sshd)
    assert user_data["ssh_pwauth"] is False
    assert user_data["disable_root"] is True
