"""Work queues: messages are received and settled one by one; the pure part of `SimpleConsumer`."""
