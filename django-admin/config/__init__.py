"""Settings, routes and entry point of the admin service."""
