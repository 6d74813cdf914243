"""How Serve is told to spend less on a hop and to miss a dead proxy soon; read by its own processes when they start."""

from ray.serve.schema import LoggingConfig

ENVIRONMENT = {
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "2",
}
"""Replicas run our code and their router in the loop that takes requests: what computes is in threads of ours anyway.

The first four are of what RAY_SERVE_THROUGHPUT_OPTIMIZED sets; it would also have replicas listen for HTTP themselves.
With the last two a dead proxy is missed after some seconds, not half a minute (three checks in a row must fail).
"""
LOGGING = LoggingConfig(enable_access_log=False)
"""No line a request and hop: the metrics count them, and lines would name users' requests."""
