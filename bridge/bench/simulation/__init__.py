"""Whole sessions on a fake clock: the service's core under recorded and made-up traces.

In: a `Trace` (when controls are sent, how long the network takes) and an `EngineModel` (what chunks cost). Out: an
`Outcome`: every answer, when it arrived and what it showed.

Read first: `loop` (the simulation), then `traces`, `figures` (what is computed from an outcome), `peers` (two simpler
services to compare with) and `plot`.
"""
