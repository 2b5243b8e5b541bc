"""The Panda3D demo: a real engine's scene, handed over as a blockout and painted; frames shown on a card.

python -m demos.clients.panda3d ADDRESS SECONDS [--scene walk|yard] [--window] [--picture FILE.png]
"""
