"""Statistics on the cold side: closed minutes become hourly rows, rows become series."""
