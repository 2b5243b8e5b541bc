"""The plain Python client, which stands in unity_plugin_protocol.md, section "A plain client"."""
