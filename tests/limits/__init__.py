"""What accounts may start, and spend."""
