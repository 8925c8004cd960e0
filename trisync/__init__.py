"""What users run and import: the `trisync` command and a typed client of the operator API."""
