"""The running relay: built in one place from a configuration, run, and taken down in order.

`build` makes every part from the compiled configuration and joins them, `runner` holds the one timer of the
deliveries, the control socket takes messages and commands from local programs, and the service starts and
stops all of it for twistd.
"""
