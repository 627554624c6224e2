"""Measurements side by side with peers; run by hand, never part of the tests.

    python -m benchmarks.small       small calls against django-redis and Django's RedisCache
    python -m benchmarks.counting    what counting an access costs

Each starts a Redis of its own and pins itself and that server to one CPU where the system allows it.
"""
