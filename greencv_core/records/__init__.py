"""What runs left behind: run records, their stores, and the tables made from them."""
