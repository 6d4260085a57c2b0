# client.py LDAP LDAPS PKI: python3-ldap3 at the bridge, by both ways into TLS, with and without
# an authorization identity.
import ssl
import sys

import ldap3

ldap_port, ldaps_port, pki = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
BASE = "dc=example,dc=test"
RICK = "uid=rick,ou=partner.test,ou=people," + BASE


def connect(who, implicit, authzid=None):
    """Binds by SASL EXTERNAL, and returns the connection and the result code."""
    tls = ldap3.Tls(
        local_certificate_file=f"{pki}/{who}.pem",
        local_private_key_file=f"{pki}/{who}.key",
        ca_certs_file=f"{pki}/server-ca.pem",
        validate=ssl.CERT_REQUIRED,
        valid_names=["mx.example.test"],
    )
    server = ldap3.Server("127.0.0.1", port=ldaps_port if implicit else ldap_port, use_ssl=implicit, tls=tls, get_info=ldap3.NONE)
    connection = ldap3.Connection(
        server, authentication=ldap3.SASL, sasl_mechanism=ldap3.EXTERNAL, sasl_credentials=authzid, receive_timeout=20
    )
    connection.open()
    if not implicit:
        assert connection.start_tls(), connection.result
    connection.bind()
    return connection, connection.result["result"]


def names(connection):
    assert connection.search(BASE, "(objectClass=*)", attributes=["1.1"]), connection.result
    return sorted(e["dn"] for e in connection.response if e["type"] == "searchResEntry")


def seen(domain):
    return sorted([f"uid=rick,ou={domain},ou=people,{BASE}", f"ou={domain},ou=shared,{BASE}", f"cn=price list,ou={domain},ou=shared,{BASE}"])


def equals(want, got):
    if want != got:
        sys.exit(f"client.py: {got!r} is not {want!r}")


for implicit in (False, True):
    for authzid in (None, "u:rick@partner.test", "dn:" + RICK):
        connection, result = connect("rick", implicit, authzid)
        equals(0, result)
        equals("u:rick@partner.test", connection.extend.standard.who_am_i())
        equals(seen("partner.test"), names(connection))
        connection.unbind()
    connection, result = connect("namesake", implicit)
    equals(0, result)
    equals(seen("other.test"), names(connection))
    # A page at a time, and a comparison.
    entries = connection.extend.standard.paged_search(BASE, "(objectClass=*)", attributes=["1.1"], paged_size=2, generator=False)
    equals(3, len([e for e in entries if e["type"] == "searchResEntry"]))
    equals(True, connection.compare(f"ou=other.test,ou=shared,{BASE}", "description", "for users of other.test"))
    # Another's identity is none, and the own one is gone with it.
    connection.unbind()
    equals(49, connect("namesake", implicit, "u:rick@partner.test")[1])
    connection, _ = connect("namesake", implicit, "dn:" + RICK)
    equals(49, connection.result["result"])
    connection.unbind()
    # Nobody's certificate.
    equals(48, connect("eve", implicit)[1])
