"""One platform in containers for all tests of this folder, removed with its data at the end."""

import pytest

from tests.site import Site
from tests.stack.machines import Machine, Place
from tests.stack.stack import Stack, build_images


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(__file__.removesuffix("/conftest.py")):
            item.add_marker(pytest.mark.stack)
            # The first test builds the images and starts the platform.
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def images():
    """Both images, built of the working tree."""
    build_images()


@pytest.fixture(scope="session")
def stack(tmp_path_factory, images):
    """The running platform; a test that stops a part of it starts it again."""
    stack = Stack(tmp_path_factory.mktemp("stack"))
    try:
        stack.up()
        yield stack
    finally:
        stack.down("--volumes")


@pytest.fixture
def site(stack):
    """The operator, logged in through nginx; anew for each test, since a restore ends sessions."""
    values = {name: stack.values[name] for name in stack.values if name.startswith("DJANGO_SUPERUSER_")}
    site = Site(values | {"ADMIN_URL": stack.url})
    yield site
    site.http.close()


@pytest.fixture(scope="session")
def place(tmp_path_factory, images):
    """What the two machines share."""
    with Place(tmp_path_factory.mktemp("place")) as place:
        place.make_images(place.version("HEAD"))
        yield place


@pytest.fixture(scope="session")
def machines(tmp_path_factory, place):
    """Both machines by their role, running; a test that changes their version takes it back."""
    folder = tmp_path_factory.mktemp("machines")
    machines = {role: Machine(role, folder, place) for role in ("admin", "api")}
    try:
        for machine in machines.values():
            machine.boot()
        yield machines
    finally:
        for machine in machines.values():
            machine.compose("down", "--volumes")


@pytest.fixture(scope="session")
def api(machines):
    """The machine of the API."""
    return machines["api"]


@pytest.fixture(scope="session")
def admin(machines):
    """The machine of the admin."""
    return machines["admin"]
