"""Pure parts of a producer: messages to batches, batches to queues, answers to receipts."""
