"""Fetch every dataset URL, check its rows, and write train and validation parquet files."""
