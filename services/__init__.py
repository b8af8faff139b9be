"""What people and other systems talk to.

api/     the HTTP API and the live stream      local/   Kafka and Cassandra as child processes, `inventorybot up`
verify/  the independent check                 *_cli.py the smaller commands
"""
