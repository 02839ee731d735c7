"""Faults under a steady load of real clients, on real servers: what failed, what was lost, how long it took.

``make faults`` plays each at full length and prints a table; ``test_faults.py`` plays the same faults for a
few seconds each.
"""
