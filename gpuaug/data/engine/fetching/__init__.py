"""Ways to fetch: by threads that decode files, from a thread that reads a stream, or by processes that run a user's stream."""
