"""Alerts: when a rule fires and ends, what is told of it, and by which channel.

Nothing here knows a model, a clock or a cache: `watch` gathers the signals and keeps the rows.
"""
