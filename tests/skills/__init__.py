"""Running handlers: machpay._iterate and machpay._run."""
