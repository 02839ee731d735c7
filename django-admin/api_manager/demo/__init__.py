"""A site as it might be after a month: keys (``site``), requests (``traffic``), both loaded (``load``).

Nobody can use its keys, for no secret is made. Owners are ``.example``; addresses are of the networks that
are set aside for documentation and tests (RFC 5737, RFC 3849, RFC 2544).
"""
