"""Cassandra: session.py the driver for asyncio; migrations.py the tables; schema.py applies them; the others are stores."""
