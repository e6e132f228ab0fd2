"""What runs an epoch: its order, then read, decode, make views and deliver, in threads or in worker processes."""
