"""The `altgrad` of a block: hands its words to the process that has torch loaded (`server.py`)."""

import json
import os
import socket
import sys

server = socket.socket(socket.AF_UNIX)
server.connect(os.environ["ALTGRAD_TEST_SERVER"])
asked = {
    "program": sys.argv[0],
    "words": sys.argv[1:],
    "cwd": os.getcwd(),
    "environment": dict(os.environ),
}
socket.send_fds(server, [json.dumps(asked).encode()], [0, 1, 2])
sys.exit(int(server.recv(16) or b"1"))
