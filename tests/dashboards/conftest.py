"""Pages that are driven in this process are those of a named user of this machine, with all roles."""

import os
from collections.abc import Iterator

import pytest

from dataengine.app_identity import identity_settings


@pytest.fixture(autouse=True, scope="session")
def local_user() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in identity_settings(user="ann").environment.items():
            environment.setitem(os.environ, name, value)
        yield
