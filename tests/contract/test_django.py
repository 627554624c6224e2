"""The backend keeps the contract that Django's own tests state for every cache backend."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.contract.upstream import HERE, run_pytest

CULLING = {"test_cull", "test_zero_cull", "test_cull_delete_when_store_empty"}
"""What no Redis backend has: Redis evicts by itself. Django's own class for Redis leaves these out too."""


@pytest.fixture(scope="module")
def outcome(django_source: Path, contract_redis: str):
    """What became of Django's tests."""
    return run_pytest(
        *("--noconftest", "--ds=django_settings", str(HERE / "django_suite.py")),
        directory=django_source / "tests",
        path=[HERE, django_source / "tests"],
        environment={"CALLCACHE_CONTRACT_REDIS": contract_redis},
    )


@pytest.fixture(scope="module")
def declared(django_source: Path):
    """Names of all tests of ``BaseCacheTests``."""
    module = ast.parse((django_source / "tests/cache/tests.py").read_text())
    (suite,) = (node for node in module.body if getattr(node, "name", "") == "BaseCacheTests")
    return {name for node in suite.body if (name := getattr(node, "name", "")).startswith("test_")}


@pytest.mark.parametrize("face", ["TestBlocking", "TestAsynchronous"])
class TestBaseCacheTests:
    def test_contract__nothing_fails(self, outcome, face):
        """No test of Django fails."""
        failed = {name: text for name, text in outcome.failed.items() if name.startswith((face, "pytest"))}
        assert not failed, outcome._replace(failed=failed).report()

    def test_contract__everything_ran(self, outcome, declared, face):
        """All of the suite ran, bar culling."""
        ran = {name_in(face, name) for name in outcome.passed | outcome.failed.keys()}
        assert ran - {""} == declared - CULLING
        assert len(ran) > 45


def name_in(face: str, name: str) -> str:
    """Return the method of a test or subtest of a class, empty where it belongs to another."""
    owner, _, test = name.partition("::")
    return test.partition(" ")[0] if owner == face else ""
