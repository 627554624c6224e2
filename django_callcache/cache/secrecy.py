"""Encryption as far as a cache's rules ask for it: its library is loaded only then."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from django_callcache.codec.sealing import MakeCipher
from django_callcache.conf import CacheOptions

CIPHER = "django_callcache.codec.encryption.Cipher"


def cipher_for(options: CacheOptions) -> MakeCipher | None:
    """What encrypts the values of an alias's sensitive prefixes; None where it has none.

    Raises:
        ImproperlyConfigured: The library for it is not installed.
    """
    prefix = next((rule.prefix for rule in options.rules if rule.sensitive), None)
    if prefix is None:
        return None
    try:
        make: MakeCipher = import_string(CIPHER)
    except ImportError as error:
        raise ImproperlyConfigured(
            f"The prefix {prefix!r} is sensitive, and the library that encrypts cannot be imported: {error}. "
            'Install it: python -m pip install "django-callcache[crypto]".'
        ) from error
    return make
