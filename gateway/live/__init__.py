"""What people see: the live feed, the history of calls, and the console, a page that the gateway serves itself."""
