"""The whole platform on one machine.

setup.py, jars.py, java.py, cache.py     what must be there first: packages, jars, a Java
server.py, kafka.py, cassandra.py        the two servers        checks.py   what must hold before anything starts
up.py, supervisor.py, display.py         `inventorybot up`      demo.py, day.py        the warehouse day
"""
