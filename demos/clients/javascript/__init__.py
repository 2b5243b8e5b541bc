"""The JavaScript client, and the script that writes its types."""
