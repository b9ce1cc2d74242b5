"""Energy as a function of complexity and environment: regression models and break-evens."""
