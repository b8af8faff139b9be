"""The count model: how many items a picture of a bin shows.

data.py     bins in the Amazon Bin Image Dataset's layout        render.py, render_items.py  bins that are drawn
train.py    `inventorybot train count`                           augment.py                  what training does to pictures
evaluate.py metrics with intervals, beside trivial baselines     release.py, card.py         from checkpoint to release
cli.py      `inventorybot count`, `train`                        replay.py                   `inventorybot replay`
"""
