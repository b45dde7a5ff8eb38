"""One connection to a broker: a pure core (`core`), and the thread that drives it."""
