"""Where the gateway keeps what must last: the port, and one adapter for each technology."""
