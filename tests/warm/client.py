"""A command that a fork of the server runs: in a folder as `dvc`, `k49` and `python`.

Of Python's ways to start, `-m` and what multiprocessing starts its servers with. For others, and
without a server, the real command takes its place.
"""

import marshal
import os
import signal
import socket
import sys


def is_open(number: int) -> bool:
    """Whether a file has this number."""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


numbers = [int(name) for name in os.listdir("/proc/self/fd")]
numbers = [number for number in numbers if is_open(number)]  # not that of the listing itself
folder, name = os.path.split(os.path.abspath(sys.argv[0]))
options = sys.argv[1:]
if name == "python":
    while options and options[0] in ("-B", "-E", "-s", "-u"):
        options = options[1:]
server = socket.socket(socket.AF_UNIX)
try:
    if name == "python" and options[:1] != ["-m"] and "multiprocessing" not in "".join(options[:2]):
        raise OSError
    server.connect(os.path.join(folder, "socket"))
except OSError:
    real = os.path.join(os.path.dirname(sys.executable), name)
    os.execv(real, [real, *sys.argv[1:]])

asked = {
    "command": [name, *options],
    "cwd": os.getcwd(),
    "env": dict(os.environ),
    "numbers": numbers,
    "blocked": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
}
for number in (signal.SIGINT, signal.SIGTERM):  # passed on, for the fork to answer
    signal.signal(number, lambda number, _: server.sendall(bytes([number])))
content = marshal.dumps(asked)
socket.send_fds(server, [len(content).to_bytes(4, "big")], numbers)
server.sendall(content)
for number in numbers:  # the fork has them, and closes them when it ends
    os.close(number)
status = server.recv(1)
os._exit(status[0] if status else 1)
