"""Benchmarks of the bridge itself, behind `helios-bridge bench`.

In: traces, engine models, counts. Out: tables, pictures and JSON reports.

Read first: `inprocess` (what a control costs in the process), `transport` (sockets and rings beside websockets and
gRPC, whose servers are in `transport_servers` and `transport_peers`), `frame_budget` (the frame budget on simulated
traces) and `simulation/` (whole sessions on a fake clock).

Must not know: models. Timings are printed with their machine; none of them is a test's gate.
"""
