"""The command line: `helios-bridge serve | play | bench | conform-client | conform-server | doctor | ...`.

In: argv. Out: an exit status; errors as one line on stderr.

Read first: `main` (the parser), then `commands` (what each command does). `model_options` are the arguments that choose
a model, `local_service` starts a service as a child process for `play`, `doctor`, `axes_check` and `blockout` are
commands of their own.

Must not know: anything that another package needs. Nothing imports this package.
"""
