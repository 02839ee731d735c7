"""Keys of another system, brought in by their SHA-256 digests.

``lines`` reads a CSV file line by line and says what is wrong with each; ``load`` writes the right ones into
the database, all of them or none. Only digests come here: the keys themselves stay with their holders, who
go on using them.
"""
