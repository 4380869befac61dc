"""The command line: ``machpay``, or ``python -m machpay.cli``; ``pip install 'machpay[cli]'``.

It is made of the public SDK alone. This package itself imports nothing, so that the entry point can
say what is missing where the extra is.
"""
