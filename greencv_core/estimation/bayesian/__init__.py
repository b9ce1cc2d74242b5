"""The online Bayesian projection and its parts."""
