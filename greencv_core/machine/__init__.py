"""The computer that trains: its hardware, its training environments, and the lock of a training."""
