"""When the engine makes which session's next chunk, how long and at what quality. Pure decisions over given times.

In: what chunks have cost, when each session's frames run out, whether its prediction still holds. Out: a
`ScheduledChunk`: the session, the start, the plan, and what it replaces.

Read first: `chunk_scheduler` (joins the rest), then `edf` (earliest deadline first, fair shares, batches), `cost_model`
(percentiles of cost), `start_margin` (how early to start), `quality_ladder` (rungs), `replanning` (when a chunk on show
is worth replacing), `in_flight_chunk` (a chunk between its start and its arrival).

Must not know: sockets, the service, pixels.
"""
