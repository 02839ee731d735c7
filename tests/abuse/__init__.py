"""Abuse beside a steady load of good clients, on real servers: what it costs them, and what it leaves behind.

``make abuse`` plays each attack at full length and prints a table; ``test_abuse.py`` plays them for seconds,
and asserts what no busy machine can blur. The ratios are judged by the long form only.
"""
