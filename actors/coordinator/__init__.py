"""The coordinator: who and when. So far the catalogue of topics, and telling the shards of it."""
