"""Workers: arq workers that run generator handlers and append what they yield to the log."""
