"""Sources of the suites, and a Redis that only they write to."""

from __future__ import annotations

import pytest

from testproject.parts.missing import PartMissing
from testproject.parts.redis_server import RedisServer
from tests.conftest import require
from tests.contract.upstream import DownloadFailed, source_of


@pytest.fixture(scope="session")
def contract_redis():
    """Address of a private Redis."""
    try:
        with RedisServer() as server:
            yield server.url
    except PartMissing as missing:
        require(str(missing))


@pytest.fixture(scope="session")
def django_source():
    """Folder with the source distribution of the installed Django."""
    return source("django")


@pytest.fixture(scope="session")
def django_redis_source():
    """Folder with the source distribution of the installed django-redis."""
    return source("django-redis")


def source(package):
    try:
        return source_of(package)
    except DownloadFailed as failed:
        require(str(failed))
