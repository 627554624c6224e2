"""Private real servers, each a context manager: a Redis and a PostgreSQL of one's own.

Tests and the demo use the same ones. They listen on the loopback interface only, keep
their files in a directory of their own, and are gone, with their files, when the context ends.
"""
