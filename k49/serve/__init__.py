"""An HTTP API that reads characters, for one machine or behind a proxy: `k49 serve`.

Granian speaks HTTP, `app` answers, and a process of `readers` reads the pictures by `reading`. The
process that talks to the network opens no picture.
"""
