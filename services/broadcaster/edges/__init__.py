"""gRPC in and out: translate, hand to the core, carry out what it decides."""
