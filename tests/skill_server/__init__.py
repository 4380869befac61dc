"""The HTTP surface of executions and the skill server, over real sockets."""
