"""What edge, workers and ops share: internal, never installed, never seen by a client."""
