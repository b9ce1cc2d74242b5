"""Results in, figures, tables and the book out."""
