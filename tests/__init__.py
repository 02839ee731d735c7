"""What crosses both services, and the real servers that every test uses."""
