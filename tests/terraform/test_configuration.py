"""What the text of the configuration has to say, which `terraform test` cannot ask."""

import re

import pytest

from tests.terraform.user_data import ROOT

FOLDER = ROOT / "terraform"
TEXT = "\n".join(file.read_text(encoding="utf-8") for file in sorted(FOLDER.glob("*.tf")))
# Oracle has no tags for these.
UNTAGGED = {
    "oci_core_network_security_group_security_rule",
    "oci_core_volume_attachment",
    "oci_core_volume_backup_policy_assignment",
    "oci_objectstorage_object_lifecycle_policy",
}


def blocks(kind):
    """(labels, body) of each block of this kind at the top."""
    return re.findall(rf'^{kind} "([^{{]+)" {{\n(.*?)^}}$', TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("labels", "body"), [pytest.param(*block, id=block[0]) for block in blocks("resource")]
)
def test_every_resource_is_tagged_and_its_tags_are_tested(labels, body):
    kind, name = labels.split('" "')
    if kind not in UNTAGGED:
        assert re.search(r"^  freeform_tags +=", body, re.MULTILINE)
        assert f"{kind}.{name}" in (FOLDER / "tests/tags.tftest.hcl").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "body"), [pytest.param(*block, id=block[0]) for block in blocks("variable")]
)
def test_every_variable_is_described_and_guarded(name, body):
    assert "description = " in body
    if "type        = bool" not in body:
        assert "validation {" in body
        assert f"var.{name}" in (FOLDER / "tests/variables.tftest.hcl").read_text(encoding="utf-8")


def test_no_variable_is_a_secret():
    names = [name for name, _ in blocks("variable")]
    assert names
    assert [name for name in names if re.search("password|secret|token|private_key", name)] == []


def test_the_example_knows_the_variables():
    example = (FOLDER / "terraform.tfvars.example").read_text(encoding="utf-8")
    named = set(re.findall(r"^#?([a-z_]+) +=", example, re.MULTILINE))
    required = {name for name, body in blocks("variable") if "default " not in body}
    assert required <= named <= {name for name, _ in blocks("variable")}
