"""The control plane: it owns the schema shared with the API service and operates it.

Django's migrations are the only DDL. The API service reads keys and tiers, and writes
the request log, usage and key activity; it learns of every edit made here (or in psql)
through the NOTIFY trigger of migration 0003, so Django needs neither Redis nor the API.
"""
