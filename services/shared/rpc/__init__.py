"""What both ends of a gRPC contract need: channels, bounded send queues, errors, conversions."""
