"""Small helpers that every other room may use: energy units, errors, paths, text, downloads."""
