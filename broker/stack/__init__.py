"""The embedded stack behind `wio up`: real servers on loopback, found or built, started and watched."""
