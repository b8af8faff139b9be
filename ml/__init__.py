"""Models and how they are made; each folder has its data, model, training and evaluation. Nothing here is imported by
services or streaming: they load releases through inventorybot/adapters.
"""
