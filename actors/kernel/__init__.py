"""The actor kernel: ports, mailbox, loop, supervisor. Knows nothing of topics or messages."""
