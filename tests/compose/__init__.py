"""The stack in containers, as `deploy/compose.yaml` runs it: `make test-compose`. Needs a Docker engine."""
