"""The conformance kit: plays a client against any server, or a server against any client, by script.

It speaks through the same sockets and codec as the bridge, needs no engine and no model, and keeps nothing. What it
checks is what unity_plugin_protocol.md demands; `helios-bridge conform` is how it is called.
"""
