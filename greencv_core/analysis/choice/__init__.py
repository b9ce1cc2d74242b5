"""Which condition to choose: savings, the Pareto front, decisions and their robustness."""
