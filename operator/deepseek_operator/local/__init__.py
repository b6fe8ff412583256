"""The embedded world: the same loop over processes on this machine, without a cluster.

store      objects in memory, with the parts of an API server that the loop relies on
processes  Deployments of the store -> engine processes, and their pods' status
frontdoor  the Service: one address, requests go to the ready engine with the least in flight
measurements  scrapes the engines and computes what Prometheus would
monitoring    Prometheus and Alertmanager where they are installed, else the same Signals
world      ties them together behind :class:`World` and :class:`Writer`
"""
