"""What the Makefile and the images call, and the writer of the dashboards."""
