"""Suites of others, run against this project's backend.

They come from the source distributions of the installed versions, downloaded when first needed
into ``.downloads/`` and never copied into the repository.
"""
