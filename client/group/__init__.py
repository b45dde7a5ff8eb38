"""Pure parts of a member of a consumer group: what it holds, what it has done, what goes wrong."""
