import os

import pytest

from .ground import is_within_reach


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In CI, where nothing may be skipped, those that need root are left to `make root-test`."""
    if not os.environ.get("CI") or is_within_reach():
        return
    as_root = [item for item in items if item.get_closest_marker("root")]
    config.hook.pytest_deselected(items=as_root)
    items[:] = [item for item in items if item not in as_root]
