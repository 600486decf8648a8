"""An HTTP API that reads characters, for one machine or behind a proxy: `k49 serve`.

A request comes in at `app`, its body at `arrivals`; a process of `readers` reads it by `reading`.
The process that talks to the network opens no picture.
"""
