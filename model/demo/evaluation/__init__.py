"""How good the demo model is, in figures: `python -m model.demo.evaluate`. Numpy and OpenCV; no torch but for the
autoencoder's own figure."""
