"""Stands between filter-mailbridge and rspamd, and keeps what is asked."""

import os
import re
import socket
import threading
from dataclasses import dataclass


@dataclass
class Request:
    head: bytes  # with the empty line
    message: bytes
    whole: bool  # False: the filter closed before the end of it

    def values(self, name):
        return re.findall(rb"(?mi)^" + re.escape(name) + rb": (.*)\r$", self.head)

    @property
    def names(self):
        return [line.partition(b":")[0] for line in self.head.split(b"\r\n")[1:-2]]


class Tap:
    """Listens on a unix socket and asks rspamd at `upstream`, an AF_UNIX path, for everyone who comes."""

    def __init__(self, path, upstream):
        self.upstream = upstream
        self.requests = []  # in the order in which they were complete
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        os.chmod(path, 0o666)
        self.listener.listen(512)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            peer, _ = self.listener.accept()
            threading.Thread(target=self._relay, args=(peer,), daemon=True).start()

    def _relay(self, peer):
        with peer, socket.socket(socket.AF_UNIX) as rspamd:
            try:
                request = self._request(peer)
                self.requests.append(request)
                if not request.whole:
                    return
                rspamd.connect(self.upstream)
                rspamd.sendall(request.head + request.message)
                while piece := rspamd.recv(65536):
                    peer.sendall(piece)
            except OSError:
                pass  # whoever is gone first ends it for the other, too

    @staticmethod
    def _request(peer):
        got = bytearray()
        while (end := got.find(b"\r\n\r\n")) < 0:
            piece = peer.recv(65536)
            if not piece:
                return Request(bytes(got), b"", False)
            got += piece
        head, message = bytes(got[:end + 4]), got[end + 4:]
        length = int(re.search(rb"\r\nContent-Length: (\d+)\r\n", head)[1])
        while len(message) < length and (piece := peer.recv(1 << 20)):
            message += piece
        return Request(head, bytes(message), len(message) == length)
