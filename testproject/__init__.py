"""A small call-automation site on django_callcache: campaigns, contacts and calls."""
