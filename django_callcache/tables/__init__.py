"""Tables of the remote store as sources of records: reading them, and hearing of their changes."""
