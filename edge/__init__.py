"""The edge: stateless HTTP servers that start executions and tail their logs to clients."""
