"""What we read: the inference table, how its log changes under a stream, and how much of it is still to come."""
