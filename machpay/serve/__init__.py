"""The HTTP surface of executions (needs the extra ``machpay[serve]``).

``executions``  what the surface needs from whatever runs executions: a protocol
``routes``      the routes, the same for an edge and for a skill server
``browser``     the same for pages that know nothing of us: EventSource, and fetch with bare text
``responses``   error bodies and the SSE response
``requests``    reading what a request says
``memory``      executions run in this process, their logs kept in memory
``log``         the log of one of them
``presence``    who reads it
``bars``        which were cancelled before they were started
``server``      ``skill.serve()``
``openapi``     ``/openapi.json``: ``operations``, ``refusals`` and ``schemas`` are its parts
"""
