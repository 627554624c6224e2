"""What the documentation shows in Python is run, page by page, in the order in which it stands there."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re

import pytest
from django.conf import settings
from django.test import override_settings

from django_callcache.conf import get_settings, parse_cache_options
from tests.docs.pages import PAGES, prose, samples
from tests.docs.stage import STAGES
from tests.orm.conftest import registered

LANGUAGES = {"python", "pycon", "bash", "console", "text", "yaml", "ini", "toml", "sql", "html", "nginx"}
WITH_PYTHON = [page for page in PAGES if any(sample.language == "python" for sample in samples(page))]
SETTINGS = ("CACHES", "CALLCACHE", "OPTIONS", "DATABASE_ROUTERS", "INSTALLED_APPS")
INDENTED = re.compile(r"^(?! *(?:[-*]|\d+\.) )\S.*\n\n(?: {4}.*\n)", re.MULTILINE)


@pytest.mark.django_db
@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
class TestSamples:
    def test_samples__run(self, page, redis_url, redis_place, monkeypatch):
        """Each block of Python does what it does without an error, or says why it is not run."""
        monkeypatch.setenv("REDIS_URL", f"redis://{redis_place}")
        monkeypatch.setenv("SUPABASE_URL", "https://ref.supabase.co")
        for name in ("SUPABASE_KEY", "CALLCACHE_SECRET", "REDIS_PASSWORD"):
            monkeypatch.setenv(name, "sb_secret_of_the_samples")
        with STAGES[page.name](redis_url) as names:
            for sample in samples(page):
                if sample.language == "python" and sample.reason is None:
                    run(sample, names)


class TestFences:
    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
    def test_fences__language(self, page):
        """Each block of code is fenced and names its language."""
        assert {sample.language for sample in samples(page)} <= LANGUAGES
        assert not INDENTED.search(prose(page)), "fence the indented block: ```python, ```bash, ```text"

    def test_fences__few_not_run(self):
        """What is marked as not run is the exception, and is Python that parses all the same."""
        python = [sample for page in PAGES for sample in samples(page) if sample.language == "python"]
        marked = [sample for sample in python if sample.reason]
        assert len(marked) * 5 < len(python)
        for sample in marked:
            ast.parse(sample.code)


def run(sample, names):
    """Run a block in the names of its page; what it says about settings must be settings."""
    code = re.sub(r'^"(\w+)": ', r"\1 = ", sample.code, flags=re.MULTILINE)
    code = re.sub(r"^(\S.*|[}\]]),$", r"\1", code, flags=re.MULTILINE)
    for name in (*SETTINGS, "RULES"):
        if re.search(rf"^{name} = ", code, re.MULTILINE):
            names.pop(name, None)
    before = {name: repr(names.get(name)) for name in (*SETTINGS, "RULES")}
    try:
        compiled = compile(code, f"{sample.page}:{sample.line}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(compiled, names)  # noqa: S307 - the documentation of this very repository
        if inspect.iscoroutine(result):
            asyncio.run(result)
    except Exception as error:
        raise AssertionError(f"{sample.page.name}, line {sample.line}: {error!r}") from error
    changed = {name for name in before if repr(names.get(name)) != before[name]}
    if changed & {"CACHES", "CALLCACHE", "OPTIONS", "RULES"}:
        configure(names)


def configure(names):
    """Have the settings of a sample parsed as Django's would be."""
    stated = {"CACHES": names.get("CACHES", settings.CACHES), "CALLCACHE": names.get("CALLCACHE", {})}
    if "OPTIONS" in names:
        stated["CACHES"] = {"default": {"OPTIONS": names["OPTIONS"]}}
    if "RULES" in names:
        stated["CACHES"] = {"default": {"OPTIONS": {"CALLCACHE": {"RULES": names["RULES"]}}}}
    with override_settings(**stated):
        get_settings()
        for alias, options in stated["CACHES"].items():
            if "callcache" in options.get("BACKEND", "callcache"):
                parse_cache_options(options, alias=alias)


__all__ = ["registered"]
