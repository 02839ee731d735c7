"""Fuzzing: whatever comes in, nothing crashes, and every answer is one that the documents describe.

``openapi`` has schemathesis ask the running platform what its OpenAPI document allows and forbids, and
follow its links. What other bytes do, to the parsers and by way of Redis and PostgreSQL, is tested beside
each of them, by Hypothesis. ``make test`` does a little of both, ``make fuzz`` much more.
"""
