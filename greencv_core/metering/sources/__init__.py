"""Energy sources: one module a driver or an interface of the system."""
