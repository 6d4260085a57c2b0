package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"strconv"

	"dancemta/daneclient/clientid"
	"dancemta/internal/dnsname"
)

const tellNameCommand = "tell-name"

// tellName is the client whose octets the peer in C judges: it connects with
// credential.pem and credential.key, tells a name to a server that asks by an
// extension of this type, and says whether it was asked.
func tellName(address, credential, typ, name string) error {
	number, err := strconv.ParseUint(typ, 0, 16)
	if err != nil {
		return err
	}
	owner, err := dnsname.ParseOwner(name)
	if err != nil {
		return err
	}
	cert, err := tls.LoadX509KeyPair(credential+".pem", credential+".key")
	if err != nil {
		return err
	}
	named, err := clientid.Answer(cert, uint16(number), owner)
	if err != nil {
		return err
	}
	conn, err := tls.Dial("tcp", address, &tls.Config{
		InsecureSkipVerify: true, // the peer's certificate is not what is tried here
		GetClientCertificate: func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			fmt.Println("asked", clientid.Asked(r, uint16(number)))
			return &named, nil
		},
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := fmt.Fprint(conn, "hello\r\n"); err != nil {
		return err
	}
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	_, err = io.ReadAll(conn) // until the peer has read it
	return err
}
