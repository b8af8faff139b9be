"""The contract with other systems.

topics.py    which topics there are
schemas.py   the data of every event type, with its limits
decoding.py  the JSON data of an event into its shape, and what is wrong with it in words
codec.py     CloudEvents in and out of Kafka records and JSON; every refusal has a code and a path
examples.py  a worked example of every event type
asyncapi.py  the AsyncAPI 3 document, generated from topics, schemas and examples
"""
