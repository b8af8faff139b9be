"""Counting the items in pictures of bins.

data.py       bins in the ABID layout: pictures, records, a split that does not leak
render.py     drawn bins with a known count (render_items.py: the things in them)
augment.py    pictures to tensors, and their random changes
train.py      bins -> checkpoint                release.py    checkpoint -> release (card.py: its page for people)
evaluate.py   metrics with intervals            releases/     what ships
cli.py        inventorybot count, train         replay.py     inventorybot replay
"""
