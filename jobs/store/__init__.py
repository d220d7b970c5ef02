"""What we know of Delta and of streaming: tables, locks, checkpoints, and queries that work batch by batch."""
