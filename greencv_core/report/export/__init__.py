"""The files beside the report: results.json, runs.csv, runs.parquet, datapackage.json."""
