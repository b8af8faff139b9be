"""Counting the items in pictures of bins.

data.py       bins in the ABID layout, from folders, zips and S3: pictures, records, a split that does not leak
render.py     drawn bins with a known count (render_items.py: the things in them)
augment.py    pictures to tensors, and their random changes
config.py     every option of a run (configs/: files of them)        losses.py      what a run minimises
pretrained.py ImageNet weights below a new head                      distributed.py several processes, Spark
train.py      bins -> checkpoint                                     experiments.py ablations, search
release.py    checkpoints -> release (graph.py: its operations for processors; card.py: its page for people)
evaluate.py   metrics with intervals                                 conformal.py   prediction sets
alerts.py     how it finds wrong records                             judge.py       all of these (report.py: their page)
heads.py      small models on its features: change.py (two looks at one bin), agreement.py (a picture and a record)
cli.py        inventorybot count, evaluate count                     train_cli.py   inventorybot train
replay.py     inventorybot replay                                    releases/      what ships
"""
