"""A small LDAP server on loopback: binds, finds what is in it, and can be told to misbehave."""

import socket
import threading
import warnings
from contextlib import contextmanager

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of ldap3, about a library of its own
    from ldap3.protocol.rfc4511 import (
        LDAPDN,
        BindResponse,
        LDAPMessage,
        LDAPString,
        MessageID,
        PartialAttributeList,
        ProtocolOp,
        ResultCode,
        SearchResultDone,
        SearchResultEntry,
    )
    from pyasn1.codec.ber import decoder, encoder

READER, PASSWORD = "cn=reader,dc=example,dc=com", "s3cret-of-the-reader"
PEOPLE = "ou=people,dc=example,dc=com"
SUCCESS, NO_SUCH_OBJECT, INVALID_CREDENTIALS = 0, 32, 49


class Directory:
    def __init__(self):
        self.people = 1
        self.says = None  # bytes to answer with instead of LDAP
        self.is_silent = False
        self.binds = []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.address = f"ldap://127.0.0.1:{self.port}"
        self._ends = threading.Event()

    def serve(self):
        self.server.settimeout(0.1)
        while not self._ends.is_set():
            try:
                connection, _ = self.server.accept()
            except TimeoutError:
                continue
            with connection:
                self._talk(connection)
        self.server.close()

    def end(self):
        self._ends.set()

    def _talk(self, connection):
        connection.settimeout(3)
        data = b""
        while True:
            try:
                more = connection.recv(4096)
            except OSError:
                return
            if not more:
                return
            data += more
            if self.is_silent:
                self._ends.wait(3)
                return
            if self.says is not None:
                connection.sendall(self.says)
                return
            message, data = decoder.decode(data, asn1Spec=LDAPMessage())
            for answer in self._answers(message):
                connection.sendall(answer)

    def _answers(self, message):
        number, asked = int(message["messageID"]), message["protocolOp"]
        if asked.getName() == "bindRequest":
            bind = asked.getComponent()
            who, secret = str(bind["name"]), bytes(bind["authentication"]["simple"]).decode()
            self.binds.append(who)
            known = (who, secret) in ((READER, PASSWORD), ("", ""))
            yield self._done(number, "bindResponse", BindResponse(), SUCCESS if known else INVALID_CREDENTIALS)
        elif asked.getName() == "searchRequest":
            search = asked.getComponent()
            base, scope = str(search["baseObject"]), int(search["scope"])
            if base != PEOPLE:
                yield self._done(number, "searchResDone", SearchResultDone(), NO_SUCH_OBJECT)
                return
            names = [PEOPLE] if scope == 0 else [f"uid=p{one},{PEOPLE}" for one in range(self.people)]
            for name in names:
                entry = SearchResultEntry()
                entry["object"] = LDAPDN(name)
                entry["attributes"] = PartialAttributeList()
                yield self._message(number, "searchResEntry", entry)
            yield self._done(number, "searchResDone", SearchResultDone(), SUCCESS)

    def _done(self, number, name, answer, code):
        answer["resultCode"] = ResultCode(code)
        answer["matchedDN"] = LDAPDN("")
        answer["diagnosticMessage"] = LDAPString("")
        return self._message(number, name, answer)

    def _message(self, number, name, answer):
        message = LDAPMessage()
        message["messageID"] = MessageID(number)
        operation = ProtocolOp()
        operation.setComponentByName(name, answer)
        message["protocolOp"] = operation
        return encoder.encode(message)


@contextmanager
def running():
    directory = Directory()
    thread = threading.Thread(target=directory.serve, daemon=True)
    thread.start()
    try:
        yield directory
    finally:
        directory.end()
        thread.join()
