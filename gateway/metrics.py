from prometheus_client import Counter, Gauge, Histogram

from libs.telemetry.metrics import SECONDS

REQUESTS = Counter("creator_gateway_requests_total", "Requests answered.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram("creator_gateway_request_seconds", "Time to answer.", ["method", "route"], buckets=SECONDS)
PROBLEMS = Counter("creator_gateway_problems_total", "Problems told, by code.", ["code"])
IN_FLIGHT = Gauge("creator_gateway_in_flight_requests", "Requests being answered now.")
CONNECTIONS_REFUSED = Counter("creator_gateway_connections_refused_total", "Connections closed at once: too many.")
LIMITED = Counter("creator_gateway_limited_total", "Requests over a limit.", ["limited"])
UNCOUNTED = Counter("creator_gateway_uncounted_total", "Requests not counted: Redis is down.", ["limited"])
