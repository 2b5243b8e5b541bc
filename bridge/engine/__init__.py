"""The engine: the interface of whatever makes frames, and the process that runs it.

In: session starts, steps (a control window and a plan), saves. Out: events: frames that arrived, sessions opened or
refused, states saved, the process down and up again.

Read first: `interface` (the `Engine` protocol), then `supervisor` (the server's side of the process). `process` starts
and restarts it, `pipe` moves messages (`ipc_messages`), `worker` and `step_executor` run inside it, `chunk_pool` holds
frames in shared memory, `session_table` and `work_tracker` know what a dead process leaves behind, `state_file` stores
a session's state.

Must not know: clients, when a chunk is due, any particular model.
"""
