"""Dashboards and rules, tried with a real Prometheus."""
