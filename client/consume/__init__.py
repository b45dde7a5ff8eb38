"""Pure parts of a consumer: what to fetch next, what came, what is delivered."""
