"""helios-bridge: a game engine's neural renderer over ZeroMQ."""
