"""How Serve is told to spend less on each hop; read by Serve's own processes when they start."""

from ray.serve.schema import LoggingConfig

ENVIRONMENT = {
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000",
    "RAY_SERVE_LOG_TO_STDERR": "0",
}
"""Replicas run our code and their router in the loop that takes requests: what computes is in threads of ours anyway.

These are four of what RAY_SERVE_THROUGHPUT_OPTIMIZED sets; it would also have replicas listen for HTTP themselves.
"""
LOGGING = LoggingConfig(enable_access_log=False)
"""No line a request and hop: the metrics count them, and lines would name users' requests."""
