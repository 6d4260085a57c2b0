"""A load balancer at which TLS ends: it proves users by the CA of their domain, and
tells who they are in a header of the PROXY protocol, version 2.

terminator.py PORT BACKEND CERTIFICATE KEY CA USER"""
import socket, ssl, struct, sys, threading

port, backend, certificate, key, ca, user = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.load_cert_chain(certificate, key)
context.load_verify_locations(ca)
context.verify_mode = ssl.CERT_OPTIONAL


def field(kind, value):
    return struct.pack("!BH", kind, len(value)) + value


def header(conn, peer):
    """Client bits 1 and 2: TLS, with a certificate on this connection; verify 0: it is good."""
    proved = conn.getpeercert() is not None and conn.getpeercert() != {}
    fields = field(0x20, struct.pack("!BI", 3 if proved else 1, 0) + field(0x21, conn.version().encode()))
    if proved:
        fields += field(0xE1, user.encode())
    body = socket.inet_aton(peer[0]) + socket.inet_aton("127.0.0.1") + struct.pack("!HH", peer[1], int(port)) + fields
    return b"\r\n\r\n\0\r\nQUIT\n" + b"\x21\x11" + struct.pack("!H", len(body)) + body


def copy(source, to):
    try:
        while data := source.recv(65536):
            to.sendall(data)
    except OSError:
        pass
    for end in (source, to):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(raw, peer):
    try:
        conn = context.wrap_socket(raw, server_side=True)
    except (OSError, ssl.SSLError) as error:
        print("handshake:", error, flush=True)
        return
    behind = socket.create_connection(("127.0.0.1", int(backend)))
    behind.sendall(header(conn, peer))
    threading.Thread(target=copy, args=(behind, conn), daemon=True).start()
    copy(conn, behind)


listener = socket.create_server(("127.0.0.1", int(port)))
while True:
    threading.Thread(target=serve, args=listener.accept(), daemon=True).start()
