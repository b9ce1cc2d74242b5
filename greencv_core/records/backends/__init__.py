"""Where records are kept: a folder, an object store, or a read-only bundle."""
