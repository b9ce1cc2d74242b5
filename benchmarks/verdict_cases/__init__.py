"""Studies of known truth, by the kind of verdict that they put to the test."""
