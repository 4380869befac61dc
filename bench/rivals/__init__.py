"""What people would use instead, written by us against public APIs; see :mod:`bench.target`."""
