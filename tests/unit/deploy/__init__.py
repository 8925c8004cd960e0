"""The files that deploy the services."""
