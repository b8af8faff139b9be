"""The HTTP API: events in; levels, dead letters, anomalies and a live stream out. Run: `inventorybot api`.

cli.py           composition root: settings -> adapters -> uvicorn
app.py           `create_app(parts)`: the application on any adapters, real or fake
parts.py         what the routes need
guard.py         body and time limits, access log, request metric: around every request
problems.py      every error as RFC 9457 problem+json
views.py plan_views.py      the JSON of answers          params.py   the parameters of requests
events.py levels.py dead_letters.py anomalies.py plans.py stream.py health.py      the routes
hub.py           one reader of inventory.anomalies, fanned out to the live streams
"""
