"""Measurements side by side with peers; run by hand, never part of the tests.

    python -m benchmarks.peers       every workload beside the caches of the field; writes docs/benchmarks.md
    python -m benchmarks.small       small calls against django-redis and Django's RedisCache
    python -m benchmarks.counting    what counting an access costs
    python -m benchmarks.outage      what callers notice while the remote store refuses, and the way back
    python -m benchmarks.ttl_lab     TTL policies in a lab that counts loads against stale reads
    python -m benchmarks.ttl_live    TTL policies on rows that change, in compressed time
    python -m benchmarks.ttl_cost    what a load costs a TTL policy

What needs a Redis starts one of its own. Those that measure calls pin themselves and that server to one CPU
where the system allows it.
"""
