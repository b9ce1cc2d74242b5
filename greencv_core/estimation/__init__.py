"""Energy and duration of a training before it ends: methods, their evaluation, and forecasts."""
