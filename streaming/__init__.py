"""The agents, on Faust.

agents/     one file per arrow of the data flow; no Faust in them: `handle(batch)` and injected ports
harness.py  hands an agent its batches; acknowledges only what is durable; ends the process rather than skip
stages.py   batches one behind the other, each in a stage of its own
app.py      the composition root of each agent
cli.py      `inventorybot worker AGENT`
"""
