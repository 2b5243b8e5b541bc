"""The real model: Helios in its Diffusers folder, made into the graphs that the chunk loop drives."""
