"""Kuzushiji-49 with small neural networks: the library behind the DVC stages in `stages/`.

The rooms, in the order in which data flow: `data`, `training`, `evaluation`, `inference`.
"""
