"""The Grafana dashboards, described in few words: `make dashboards` writes their JSON."""
