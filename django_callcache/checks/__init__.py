"""System checks of the configuration, one function a topic. None of them talks to a server.

The documentation lists every id. Checks that matter only in production run with ``check --deploy``.
"""

from __future__ import annotations

from django.core.checks import Tags, register

from django_callcache.checks import configuration, deploy, invalidation, learning, sync

CHECKS = (
    configuration.check_settings,
    configuration.check_options,
    configuration.check_clusters,
    configuration.check_key_prefixes,
    configuration.check_other_backends,
    configuration.check_names,
    configuration.check_key_function,
    configuration.check_connection,
    configuration.check_guards,
    configuration.check_ttl,
    configuration.check_app,
    learning.check_bounds,
    learning.check_rules,
    invalidation.check_models,
    invalidation.check_caches,
    invalidation.check_sources,
    sync.check_sync,
    sync.check_tables,
    sync.check_eviction,
    sync.check_strategies,
    sync.check_remote,
)
DEPLOY_CHECKS = (
    deploy.check_transport,
    deploy.check_addresses,
    deploy.check_legacy,
    deploy.check_supabase_transport,
    deploy.check_secrets,
)


def register_checks() -> None:
    """Register every check with Django."""
    for check in CHECKS:
        register(check, Tags.caches)
    for check in DEPLOY_CHECKS:
        register(check, Tags.caches, Tags.security, deploy=True)
