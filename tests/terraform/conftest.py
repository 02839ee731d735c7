"""What `make terraform-lint` needs of the machine: terraform, cloud-init's schema, and root."""

import base64
import gzip
import json
import os
import shutil
import subprocess

import pytest
import yaml

from tests.terraform.user_data import HOST_ENV, ROOT, SETUP, TEMPLATE


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(__file__.removesuffix("/conftest.py")):
            item.add_marker(pytest.mark.terraform)


def needed(program, hint):
    path = shutil.which(program)
    if path is None:
        pytest.fail(f"{program} is not installed: {hint}")
    return path


@pytest.fixture(scope="session")
def as_root():
    """The words before a command that needs root."""
    return [] if os.geteuid() == 0 else [needed("sudo", "run the tests as root"), "--non-interactive"]


@pytest.fixture(scope="session")
def render(tmp_path_factory):
    """Renders the template as Terraform does; gives the text, and what Oracle gets of it."""
    terraform = needed("terraform", "https://developer.hashicorp.com/terraform/install")
    # Without a configuration the console needs no provider.
    empty = tmp_path_factory.mktemp("console")

    def render(host_env=None, *, swap_gb=0):
        values = {
            "host_env": host_env or HOST_ENV,
            "reboot_at": "05:00",
            "swap_gb": swap_gb,
            "setup": SETUP.read_text(encoding="utf-8"),
        }
        # JSON is an expression of Terraform's, but for its two marks of a template.
        arguments = json.dumps(values).replace("${", "$${").replace("%{", "%%{")
        expression = f'base64gzip(templatefile("{TEMPLATE}", {arguments}))'
        run = subprocess.run(
            [terraform, "console"], input=expression, cwd=empty, capture_output=True, text=True, check=False
        )
        if run.returncode:
            pytest.fail(run.stderr)
        user_data = json.loads(run.stdout)
        return gzip.decompress(base64.b64decode(user_data)).decode(), user_data

    return render


@pytest.fixture(scope="session")
def cloud_init(tmp_path_factory):
    """The command `cloud-init`, of the machine or of an unpacked package: installed, it would run at boot."""
    if installed := shutil.which("cloud-init"):
        return [installed], {}
    apt_get = needed("apt-get", "install cloud-init, or run the tests on Debian or Ubuntu")
    dpkg = needed("dpkg", "it unpacks cloud-init")
    folder = tmp_path_factory.mktemp("cloud-init")
    subprocess.run(
        [apt_get, "--quiet", "download", "cloud-init"], cwd=folder, check=True, capture_output=True
    )
    (package,) = folder.glob("cloud-init_*.deb")
    subprocess.run([dpkg, "--extract", package, folder], check=True)
    python = ROOT / "terraform/.venv/bin/python"
    return [str(python), "-m", "cloudinit.cmd.main"], {
        "PYTHONPATH": f"{folder}/usr/lib/python3/dist-packages"
    }


@pytest.fixture(scope="session")
def parsed(render):
    """The rendered template as cloud-init reads it."""

    def parsed(host_env=None, **options):
        return yaml.safe_load(render(host_env, **options)[0])

    return parsed
