"""What the hot side leaves in Redis for the cold side: entries to push, and counts.

The two sides meet here and nowhere else.
"""
