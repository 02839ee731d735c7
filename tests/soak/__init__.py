"""A mixed load for minutes or hours, with faults at random, and books that must balance in the end.

``make soak`` plays it; ``test_soak.py`` plays a few faults. The parts: ``traffic`` and ``management`` ask,
``schedule`` chooses among the causes of ``tests.faults``, ``play`` brings them together. What is judged:
``balance`` (answers are rows), ``bounds`` (nobody was admitted too much), ``memory`` (nothing grows) and
``errors`` (no line of a log that no fault explains); ``result`` says what came of it.
"""
