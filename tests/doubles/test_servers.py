from __future__ import annotations

import socket
import threading

from tests.doubles.servers import read_answer


def test_an_answer_is_read_whole_in_however_many_pieces_it_arrives() -> None:
    ours, theirs = socket.socketpair()
    head = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\n"
    rest = threading.Timer(0.05, lambda: theirs.sendall(b"body"))
    with ours, theirs:
        theirs.sendall(head)
        rest.start()
        answer = read_answer(ours)
        rest.join()
    assert (answer.status_code, answer.text) == (413, "body")
