"""The sync of a cache with its remote store: its values, what waits for a person, whose it all is."""
