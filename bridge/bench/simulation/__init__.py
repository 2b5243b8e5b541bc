"""A whole session on a fake clock: the server's own decisions over traces of players, networks and engines.

Nothing here is used while serving. `loop.py` drives the code that serves, `peers.py` what others do, over `traces.py`;
`figures.py` and `plot.py` say how it went.
"""
