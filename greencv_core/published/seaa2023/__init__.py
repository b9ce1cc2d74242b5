"""Del Rey et al. (SEAA 2023): the published measurements, re-analysed."""
