"""Do groups of runs differ: omnibus, pairwise and paired tests, correlation, non-inferiority."""
