"""What each page of the report shows, one module a notebook."""
