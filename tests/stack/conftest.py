"""One platform in containers for all tests of this folder, removed with its data at the end."""

import pytest

from tests.site import Site
from tests.stack.stack import Stack, build_images


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(__file__.removesuffix("/conftest.py")):
            item.add_marker(pytest.mark.stack)
            # The first test builds the images and starts the platform.
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    """The running platform; a test that stops a part of it starts it again."""
    stack = Stack(tmp_path_factory.mktemp("stack"))
    build_images()
    try:
        stack.up()
        yield stack
    finally:
        stack.down("--volumes")


@pytest.fixture(scope="session")
def site(stack):
    """The operator, logged in to the admin through nginx."""
    values = {name: stack.values[name] for name in stack.values if name.startswith("DJANGO_SUPERUSER_")}
    site = Site(values | {"ADMIN_URL": stack.url})
    yield site
    site.http.close()
