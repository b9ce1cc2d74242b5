"""The files next to the report: results.json, runs.csv, runs.parquet, datapackage.json."""
