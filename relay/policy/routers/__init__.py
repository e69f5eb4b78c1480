"""The routers of Exim: what each kind is, and how it finds out where an address goes (decision).

The journey of one address (`relay/policy/routing.py` has the loop over the routers):

1. `arriving.arrive` tries the preconditions of a router and gives a `Visit`: the address as this router sees it;
2. the driver's function (`manualroute.run_manualroute`, `dnslookup.run_dnslookup`, `redirect.run_redirect`, …) finds
   hosts, or other addresses, or declines;
3. `leaving.routed` puts together what the transport needs: header changes, return path, user, directories.

`settings` has the routers as the configuration makes them, `items` addresses with their ancestors, `answers` what
routing says, `ports` whom it asks.
"""
