"""Both services carry the modules of credentials and of foreign formats; the two of each must stay one."""

import ast
import importlib.util

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.servers import PROJECT

FOLDERS = (PROJECT / "fastapi-service" / "ratelimiter" / "keys", PROJECT / "django-admin" / "api_manager")


def load(path):
    spec = importlib.util.spec_from_file_location(f"credentials_of_{path.parent.name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


API, ADMIN = (load(folder / "credentials.py") for folder in FOLDERS)


@pytest.mark.parametrize("name", ["credentials.py", "foreign.py"])
def test_the_code_is_the_same(name):
    def code(path):
        module = ast.parse(path.read_text(encoding="utf-8"))
        return ast.dump(ast.Module(module.body[1:], []))  # the docstring names the other service

    assert code(FOLDERS[0] / name) == code(FOLDERS[1] / name)


@pytest.mark.parametrize(("maker", "reader"), [(API, ADMIN), (ADMIN, API)])
@pytest.mark.parametrize("prefix", [API.KEY_PREFIX, API.MANAGEMENT_PREFIX])
@given(environment=st.from_regex(r"[a-z]{1,10}", fullmatch=True))
def test_what_one_makes_the_other_reads(maker, reader, prefix, environment):
    credential = maker.generate(environment, prefix)
    assert reader.is_well_formed(credential, prefix)
    assert reader.digest(credential) == maker.digest(credential)
    assert reader.hint(credential) == maker.hint(credential)
