"""django-redis's own tests pass with our class in place of theirs, under its default settings."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.contract.upstream import HERE, run_pytest

MOST_EXCEPTIONS = 15
THEIR_OWN = {"test_session::test_actual_expiry"}
"""What django-redis 6 skips itself, for want of a serializer that Django has dropped."""
EXCEPTIONS = tomllib.loads((HERE / "django_redis_exceptions.toml").read_text())["test"]


@pytest.fixture(scope="module")
def outcome(django_redis_source: Path, contract_redis: str):
    """What became of django-redis's tests."""
    return run_pytest(
        *("-p", "django_redis_plugin", "-p", "no:django", "tests"),
        directory=django_redis_source,
        path=[HERE],
        environment={"CALLCACHE_CONTRACT_REDIS": contract_redis.removeprefix("redis://").partition("/")[0]},
    )


class TestTheirTests:
    def test_contract__nothing_fails(self, outcome):
        """None of their tests fails, and none that we list as an exception passes."""
        assert not outcome.failed, outcome.report()

    def test_contract__everything_ran(self, outcome):
        """All of their tests under default settings ran, bar the exceptions."""
        skipped = {name.partition("[")[0] for name in outcome.skipped}
        assert skipped - THEIR_OWN <= {name for one in EXCEPTIONS for name in one["names"]}
        assert len(outcome.passed) >= 150, outcome.output

    def test_exceptions__few_and_with_a_reason(self):
        """The exceptions are at most fifteen, and each has a reason."""
        assert sum(len(one["names"]) for one in EXCEPTIONS) <= MOST_EXCEPTIONS
        assert all(one["reason"] for one in EXCEPTIONS)
