"""The service's HTTP edge.

The data plane (``decisions``) is plain ASGI, dispatched in front of the FastAPI app: FastAPI's
machinery per request costs more than the whole decision. The management API, health, usage and
metrics are FastAPI's. Both share one contract, kept by ``edge`` (limits, request ids, errors);
``answers`` and ``headers`` tell what was decided; ``openapi`` documents both in one document.
"""
