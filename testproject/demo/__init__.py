"""The demo behind ``manage.py demo``: the whole system at work on one machine, for as long as one looks.

The command's own process holds the private servers (`parts`), since Django's settings must know
their addresses before they are read. Below it, ``python -m testproject.demo`` runs with these
settings: it prepares the database, starts the site and the sync loop (`children`), plays the
calls over HTTP (`player`), and tells what came of it (`summary`).
"""
