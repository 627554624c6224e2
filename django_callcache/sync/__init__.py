"""Sync with the remote store: what the outbox holds goes there, batch by batch.

``SyncPass`` is the work, a ``RemoteStore`` the other end of it; neither knows a model or a setting.
"""
