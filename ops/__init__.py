"""Operator commands: what starts, shows and stops the whole system on one machine.

``valkey``   the embedded Valkey server, for machines without a Redis
``child``    a process that dies with us; ``tether`` is how
``ports``    free ports
``procfile`` the Procfile's lines
``system``   Valkey, an edge and workers from the Procfile, started and stopped as one
``cut``      a TCP proxy that drops connections when told to
``dev``      ``make dev``
``demo``     ``make demo``
``site``     ``make docs``
``npm``      Node.js, and packages of a folder
"""
