"""How a process lives: configuration, logs, the gRPC server, /metrics, readiness, shutdown."""
