"""Cities to place made sites and regions in, and distances between places.

In: degrees. Out: kilometres. City figures are rounded public ones: good enough to draw a map and to weigh demand.
"""

from __future__ import annotations

import numpy as np

from ml.planning.tables import Array

EARTH_KM = 6371.0

CITIES: tuple[tuple[str, float, float, int], ...] = (
    ("berlin", 52.52, 13.40, 3_700),
    ("hamburg", 53.55, 9.99, 1_850),
    ("munich", 48.14, 11.58, 1_490),
    ("cologne", 50.94, 6.96, 1_080),
    ("frankfurt", 50.11, 8.68, 760),
    ("stuttgart", 48.78, 9.18, 630),
    ("leipzig", 51.34, 12.37, 600),
    ("dortmund", 51.51, 7.47, 590),
    ("bremen", 53.08, 8.80, 565),
    ("dresden", 51.05, 13.74, 555),
    ("hanover", 52.37, 9.73, 535),
    ("nuremberg", 49.45, 11.08, 515),
    ("duesseldorf", 51.23, 6.77, 620),
    ("essen", 51.46, 7.01, 580),
    ("bielefeld", 52.02, 8.53, 335),
    ("bonn", 50.73, 7.10, 330),
    ("muenster", 51.96, 7.63, 315),
    ("karlsruhe", 49.01, 8.40, 310),
    ("mannheim", 49.49, 8.47, 310),
    ("augsburg", 48.37, 10.90, 295),
    ("wiesbaden", 50.08, 8.24, 280),
    ("brunswick", 52.27, 10.52, 250),
    ("kiel", 54.32, 10.14, 247),
    ("chemnitz", 50.83, 12.92, 245),
    ("aachen", 50.78, 6.08, 249),
    ("magdeburg", 52.13, 11.63, 237),
    ("freiburg", 47.99, 7.85, 231),
    ("luebeck", 53.87, 10.69, 216),
    ("erfurt", 50.98, 11.03, 214),
    ("rostock", 54.09, 12.14, 209),
    ("kassel", 51.31, 9.49, 201),
    ("saarbruecken", 49.24, 7.00, 180),
    ("potsdam", 52.40, 13.06, 183),
    ("oldenburg", 53.14, 8.21, 170),
    ("osnabrueck", 52.28, 8.05, 165),
    ("heidelberg", 49.40, 8.69, 158),
    ("regensburg", 49.01, 12.10, 153),
    ("wuerzburg", 49.79, 9.95, 127),
    ("ulm", 48.40, 9.99, 126),
    ("jena", 50.93, 11.59, 111),
)
"""Name, degrees north, degrees east, thousands of people."""


def kilometres(a: Array, b: Array) -> Array:
    """Great-circle distance between places (…, 2) in degrees, by the haversine formula."""
    (lat_a, lon_a), (lat_b, lon_b) = (np.moveaxis(np.radians(x), -1, 0) for x in (a, b))
    h = np.sin((lat_b - lat_a) / 2) ** 2 + np.cos(lat_a) * np.cos(lat_b) * np.sin((lon_b - lon_a) / 2) ** 2
    distance: Array = 2 * EARTH_KM * np.arcsin(np.sqrt(np.clip(h, 0.0, 1.0)))
    return distance
