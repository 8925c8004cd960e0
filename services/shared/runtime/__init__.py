"""How a process lives: configuration, logs, the gRPC server, metrics and their catalogue, readiness, shutdown."""
