"""Make evidence tables from files of other programs: one module for each program."""
