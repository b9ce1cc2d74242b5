"""What is trained: the study file, its schema, and the ordered list of planned runs."""
