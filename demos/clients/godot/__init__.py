"""The Godot client: GDScript, and the script that respells it for Godot 4."""
