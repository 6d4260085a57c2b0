/*
 * An independent end of dane_clientid (client-auth 7), on OpenSSL's libssl: it shares no
 * line with crypto/tls and its overlay, and it can do wrong whatever a peer can do wrong.
 *
 *   peer client HOST:PORT [options] < dialog     connects once, plays the dialog
 *   peer server [options]                        takes one connection on a free port
 *
 *   --cert FILE --key FILE   the own chain and its key
 *   --type N                 number of the extension (0xffdc)
 *   --data HEX               its extension_data, as it is: "00" asks, "" is the old form
 *   --name TEXT              the same as --data with TEXT behind its length octet
 *   --entry N                the CertificateEntry of the answer (0, the leaf's)
 *   --raw HEX                octets put into the block of extensions behind ours
 *   --tls12                  speak nothing newer
 *   --starttls               client: SMTP, or LDAP, up to STARTTLS first
 *   --ldap                   client: the dialog is one of LDAP: "bind", "bind AUTHZID" (SASL
 *                            EXTERNAL, RFC 4513 5.2.3), "whoami" (RFC 4532), "unbind"
 *   --smtp                   server: take whatever is said as a server of SMTP would
 *
 * OpenSSL's interface for foreign extensions is SSL_CTX_add_custom_ext. It keeps its user
 * from breaking the rules: a type twice, an answer that nobody asked for, lengths that
 * disagree. --raw goes around it: custom_ext_add, the function that writes foreign
 * extensions into a message under construction, is wrapped by the linker. Hence
 *
 *   cc -o peer peer.c -Wl,--wrap=custom_ext_add -l:libssl.a -l:libcrypto.a
 *
 * What happens is told on standard output, one line each:
 *
 *   port N                   the server listens
 *   message TYPE HEX         CertificateRequest (13) or Certificate (11), as it came
 *   extension N HEX          our extension came in entry N, with this extension_data
 *   handshake VERSION        done on this side
 *   alert N TEXT             came from the other side
 *   sent alert N TEXT        went there
 *   >TEXT, <TEXT             a line was sent, a line came; of LDAP, <CODE TEXT, where TEXT
 *                            is what a response holds behind its LDAPResult
 *   end                      the other side has closed
 *
 * The exit code is 0 for all of these, and 2 when nothing could be tried.
 */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#define DEADLINE 30 /* seconds; the story's patience */

struct octets {
	unsigned char b[65535];
	size_t len;
	int set;
};

static struct {
	const char *cert, *key;
	unsigned int type;
	struct octets data, raw;
	size_t entry;
	int server, tls12, starttls, smtp, ldap;
} opt = { .type = 0xffdc };

static void die(const char *what)
{
	perror(what);
	ERR_print_errors_fp(stderr);
	exit(2);
}

static void print_hex(const unsigned char *b, size_t len)
{
	for (size_t i = 0; i < len; i++)
		printf("%02x", b[i]);
	putchar('\n');
}

/* ---- options ---- */

static void parse_hex(struct octets *o, const char *hex)
{
	unsigned int v;

	o->set = 1;
	for (; *hex; hex += 2) {
		if (sscanf(hex, "%2x", &v) != 1 || !hex[1] || o->len == sizeof o->b) {
			fprintf(stderr, "not hex: %s\n", hex);
			exit(2);
		}
		o->b[o->len++] = v;
	}
}

static void parse_name(struct octets *o, const char *name)
{
	o->set = 1;
	o->len = strlen(name);
	if (o->len > 255) {
		fprintf(stderr, "name too long: %s\n", name);
		exit(2);
	}
	memcpy(o->b + 1, name, o->len);
	o->b[0] = o->len++;
}

static void parse_option(const char *name, const char *value)
{
	if (!value) {
		fprintf(stderr, "no value: %s\n", name);
		exit(2);
	} else if (!strcmp(name, "--cert")) {
		opt.cert = value;
	} else if (!strcmp(name, "--key")) {
		opt.key = value;
	} else if (!strcmp(name, "--type")) {
		opt.type = strtoul(value, NULL, 0);
	} else if (!strcmp(name, "--data")) {
		parse_hex(&opt.data, value);
	} else if (!strcmp(name, "--name")) {
		parse_name(&opt.data, value);
	} else if (!strcmp(name, "--entry")) {
		opt.entry = strtoul(value, NULL, 0);
	} else if (!strcmp(name, "--raw")) {
		parse_hex(&opt.raw, value);
	} else {
		fprintf(stderr, "unknown option: %s\n", name);
		exit(2);
	}
}

static void parse_options(char **argv)
{
	for (; *argv; argv++) {
		if (!strcmp(*argv, "--tls12")) {
			opt.tls12 = 1;
		} else if (!strcmp(*argv, "--starttls")) {
			opt.starttls = 1;
		} else if (!strcmp(*argv, "--smtp")) {
			opt.smtp = 1;
		} else if (!strcmp(*argv, "--ldap")) {
			opt.ldap = 1;
		} else {
			parse_option(argv[0], argv[1]);
			argv++;
		}
	}
}

/* ---- the extension ---- */

/* The message in which this side says something: the request, or the answer to it. */
static int ours(unsigned int context)
{
	return context == (opt.server ? SSL_EXT_TLS1_3_CERTIFICATE_REQUEST : SSL_EXT_TLS1_3_CERTIFICATE);
}

static int add_extension(SSL *ssl, unsigned int type, unsigned int context, const unsigned char **out,
			 size_t *outlen, X509 *x, size_t entry, int *alert, void *arg)
{
	if (!ours(context) || !opt.data.set || entry != opt.entry)
		return 0;
	*out = opt.data.b;
	*outlen = opt.data.len;
	return 1;
}

static int parse_extension(SSL *ssl, unsigned int type, unsigned int context, const unsigned char *in,
			   size_t inlen, X509 *x, size_t entry, int *alert, void *arg)
{
	printf("extension %zu ", entry);
	print_hex(in, inlen);
	return 1;
}

/* libssl's own, see above. Their first argument is an SSL in some releases and something
 * else in others; it is only handed on. */
int WPACKET_memcpy(void *packet, const void *src, size_t len);
int __real_custom_ext_add(void *s, int context, void *packet, X509 *x, size_t entry, int max_version);

int __wrap_custom_ext_add(void *s, int context, void *packet, X509 *x, size_t entry, int max_version)
{
	if (!__real_custom_ext_add(s, context, packet, x, entry, max_version))
		return 0;
	/* context has other bits, too, when a message is being made. */
	if (!ours(context) || entry != opt.entry)
		return 1;
	return WPACKET_memcpy(packet, opt.raw.b, opt.raw.len);
}

/* ---- what is told ---- */

static void show_message(int written, int version, int content, const void *buf, size_t len, SSL *ssl, void *arg)
{
	const unsigned char *b = buf;

	if (written || content != SSL3_RT_HANDSHAKE || SSL_version(ssl) != TLS1_3_VERSION)
		return;
	if (b[0] != (opt.server ? SSL3_MT_CERTIFICATE : SSL3_MT_CERTIFICATE_REQUEST))
		return;
	printf("message %d ", b[0]);
	print_hex(b, len);
}

static void show_alert(const SSL *ssl, int where, int ret)
{
	if (!(where & SSL_CB_ALERT) || (ret & 0xff) == SSL_AD_CLOSE_NOTIFY)
		return;
	printf("%salert %d %s\n", where & SSL_CB_WRITE ? "sent " : "", ret & 0xff, SSL_alert_desc_string_long(ret));
}

static SSL *new_ssl(int fd)
{
	SSL_CTX *ctx = SSL_CTX_new(opt.server ? TLS_server_method() : TLS_client_method());
	SSL *ssl;

	if (!ctx)
		die("SSL_CTX_new");
	SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF); /* many servers just close */
	if (opt.tls12)
		SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
	if (opt.cert && (SSL_CTX_use_certificate_chain_file(ctx, opt.cert) != 1 ||
			 SSL_CTX_use_PrivateKey_file(ctx, opt.key ? opt.key : opt.cert, SSL_FILETYPE_PEM) != 1))
		die(opt.cert);
	/* Only what the file holds: libssl completes a chain otherwise. */
	SSL_CTX_set_mode(ctx, SSL_MODE_NO_AUTO_CHAIN);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
	if (SSL_CTX_add_custom_ext(ctx, opt.type, SSL_EXT_TLS1_3_CERTIFICATE | SSL_EXT_TLS1_3_CERTIFICATE_REQUEST,
				   add_extension, NULL, NULL, parse_extension, NULL) != 1)
		die("SSL_CTX_add_custom_ext");
	SSL_CTX_set_info_callback(ctx, show_alert);
	SSL_CTX_set_msg_callback(ctx, show_message);
	if (!(ssl = SSL_new(ctx)) || SSL_set_fd(ssl, fd) != 1)
		die("SSL_new");
	return ssl;
}

/* ---- lines, in clear (ssl is NULL) and through TLS ---- */

static int read_octet(int fd, SSL *ssl)
{
	char c;

	if ((ssl ? SSL_read(ssl, &c, 1) : (int)read(fd, &c, 1)) != 1)
		return EOF;
	return (unsigned char)c;
}

/* Reads one line and tells it. line holds its beginning. */
static int read_line(int fd, SSL *ssl, char *line, size_t size)
{
	size_t n = 0;
	int c;

	while ((c = read_octet(fd, ssl)) != EOF && c != '\n')
		if (c != '\r' && n + 1 < size)
			line[n++] = c;
	line[n] = 0;
	if (c == EOF && n == 0) {
		puts("end");
		return 0;
	}
	printf("<%s\n", line);
	return 1;
}

/* Reads one reply of SMTP, whose last line has no hyphen behind the code. */
static int read_reply(int fd, SSL *ssl)
{
	char line[1024];

	do {
		if (!read_line(fd, ssl, line, sizeof line))
			return 0;
	} while (strlen(line) > 3 && line[3] == '-');
	return 1;
}

static int write_line(int fd, SSL *ssl, const char *line)
{
	char out[1026];
	int n = snprintf(out, sizeof out, "%.1020s\r\n", line);

	printf(">%s\n", line);
	return (ssl ? SSL_write(ssl, out, n) : (int)write(fd, out, n)) == n;
}

/* ---- LDAP, as much as it takes to be somebody and to ask who ---- */

#define STARTTLS_OID "1.3.6.1.4.1.1466.20037"
#define WHOAMI_OID "1.3.6.1.4.1.4203.1.11.3"

/* Appends an element. All that is said here is shorter than 128 octets (X.690 8.1.3.4). */
static void put(struct octets *o, int tag, const void *content, size_t len)
{
	if (len > 127 || o->len + 2 + len > sizeof o->b) {
		fprintf(stderr, "too long for LDAP here: %zu octets\n", len);
		exit(2);
	}
	o->b[o->len++] = tag;
	o->b[o->len++] = len;
	memcpy(o->b + o->len, content, len);
	o->len += len;
}

/* The protocolOp of one word of the dialog. RFC 4511 4.2, 4.3, 4.12 */
static void put_operation(struct octets *op, const char *word)
{
	static struct octets body, sasl;

	body.len = sasl.len = 0;
	if (!strncmp(word, "bind", 4)) {
		put(&body, 0x02, "\3", 1);
		put(&body, 0x04, "", 0);
		put(&sasl, 0x04, "EXTERNAL", 8);
		if (word[4])
			put(&sasl, 0x04, word + 5, strlen(word + 5));
		put(&body, 0xa3, sasl.b, sasl.len);
		put(op, 0x60, body.b, body.len);
	} else if (!strcmp(word, "unbind")) {
		put(op, 0x42, "", 0);
	} else {
		word = !strcmp(word, "starttls") ? STARTTLS_OID : WHOAMI_OID;
		put(&body, 0x80, word, strlen(word));
		put(op, 0x77, body.b, body.len);
	}
}

static int write_message(int fd, SSL *ssl, const char *word)
{
	static struct octets body, message;
	static unsigned char id;

	body.len = message.len = 0;
	id++;
	put(&body, 0x02, &id, 1);
	put_operation(&body, word);
	put(&message, 0x30, body.b, body.len);
	printf(">%s\n", word);
	return (ssl ? SSL_write(ssl, message.b, message.len) : (int)write(fd, message.b, message.len)) == (int)message.len;
}

/* Reads a length; -1 is none. */
static int read_length(int fd, SSL *ssl)
{
	int c = read_octet(fd, ssl), n = 0, octets;

	if (c < 0x80)
		return c;
	for (octets = c & 0x7f; octets > 0 && n < 1 << 15; octets--) {
		if ((c = read_octet(fd, ssl)) == EOF)
			return -1;
		n = n << 8 | c;
	}
	return n;
}

/* Steps into or over the element at *p; its length, or -1. */
static long element(const unsigned char **p, const unsigned char *end, int *tag)
{
	long n;
	int octets;

	if (end - *p < 2)
		return -1;
	*tag = *(*p)++;
	n = *(*p)++;
	if (n & 0x80)
		for (octets = n & 0x7f, n = 0; octets > 0 && *p < end; octets--)
			n = n << 8 | *(*p)++;
	return n <= end - *p ? n : -1;
}

/* Reads one response and tells its result code and the last element of the response, which
 * is what an extended operation says (a diagnostic else). RFC 4511 4.1.9, 4.12 */
static int read_response(int fd, SSL *ssl)
{
	static unsigned char b[1 << 16];
	const unsigned char *p = b, *end, *last = b;
	int tag, code, c, n;
	long len, lastlen = 0;

	if (read_octet(fd, ssl) != 0x30 || (n = read_length(fd, ssl)) < 0 || n > (int)sizeof b) {
		puts("end");
		return 0;
	}
	for (int i = 0; i < n; i++) {
		if ((c = read_octet(fd, ssl)) == EOF) {
			puts("end");
			return 0;
		}
		b[i] = c;
	}
	end = b + n;
	if ((len = element(&p, end, &tag)) < 0 || tag != 0x02)
		return 0;
	p += len;
	if ((len = element(&p, end, &tag)) < 0)
		return 0;
	end = p + len; /* the response alone, without controls */
	if (element(&p, end, &tag) != 1 || tag != 0x0a)
		return 0;
	code = *p++;
	while ((len = element(&p, end, &tag)) >= 0) {
		last = p;
		lastlen = len;
		p += len;
	}
	printf("<%d %.*s\n", code, (int)lastlen, (const char *)last);
	return 1;
}

/* ---- the two roles ---- */

/* Plays standard input: each line is sent, and its reply awaited. "<" only waits, and a
 * line that begins with "+" has no reply, such as those of a message. */
static void play(int fd, SSL *ssl)
{
	char line[1024];
	int waits;

	while (fgets(line, sizeof line, stdin)) {
		line[strcspn(line, "\n")] = 0;
		if (opt.ldap) {
			if (!write_message(fd, ssl, line))
				puts("not sent");
			if (!read_response(fd, ssl))
				return;
			continue;
		}
		waits = line[0] != '+';
		/* A write may fail because the other side has closed, having said why. */
		if (strcmp(line, "<") && !write_line(fd, ssl, waits ? line : line + 1))
			puts("not sent");
		if (waits && !read_reply(fd, ssl))
			return;
	}
}

static int dial(const char *where)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	const char *colon = strrchr(where, ':');
	char host[64];
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (!colon || (size_t)(colon - where) >= sizeof host) {
		fprintf(stderr, "no address and port: %s\n", where);
		exit(2);
	}
	snprintf(host, sizeof host, "%.*s", (int)(colon - where), where);
	to.sin_port = htons(atoi(colon + 1));
	if (inet_pton(AF_INET, host, &to.sin_addr) != 1 || connect(fd, (struct sockaddr *)&to, sizeof to))
		die(where);
	return fd;
}

static void client(const char *where)
{
	int fd = dial(where);
	SSL *ssl = new_ssl(fd);

	if (opt.starttls && opt.ldap) {
		if (!write_message(fd, NULL, "starttls") || !read_response(fd, NULL))
			die("StartTLS");
	} else if (opt.starttls && (!read_reply(fd, NULL) || !write_line(fd, NULL, "EHLO peer.test") || !read_reply(fd, NULL) ||
			     !write_line(fd, NULL, "STARTTLS") || !read_reply(fd, NULL)))
		die("STARTTLS");
	if (SSL_connect(ssl) != 1)
		return; /* an alert has been told */
	printf("handshake %s\n", SSL_get_version(ssl));
	play(fd, ssl);
	SSL_shutdown(ssl);
}

static int accept_one(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof at;
	int l = socket(AF_INET, SOCK_STREAM, 0), fd;

	if (bind(l, (struct sockaddr *)&at, sizeof at) || listen(l, 1) || getsockname(l, (struct sockaddr *)&at, &len))
		die("listen");
	printf("port %d\n", ntohs(at.sin_port));
	if ((fd = accept(l, NULL, NULL)) < 0)
		die("accept");
	return fd;
}

/* Any certificate will do: who it proves is the story's to say. */
static int take_any(int ok, X509_STORE_CTX *store)
{
	return 1;
}

/* Says yes to a command, and reads the message behind DATA. */
static int take_command(int fd, SSL *ssl, const char *command)
{
	char line[1024];

	if (!strcmp(command, "QUIT")) {
		write_line(fd, ssl, "221 2.0.0 bye");
		return 0;
	}
	if (!strcmp(command, "DATA")) {
		write_line(fd, ssl, "354 go on");
		while (read_line(fd, ssl, line, sizeof line) && strcmp(line, "."))
			;
	}
	return write_line(fd, ssl, "250 2.0.0 yes");
}

static void serve(void)
{
	int fd = accept_one();
	SSL *ssl = new_ssl(fd);
	char line[1024];

	SSL_set_verify(ssl, SSL_VERIFY_PEER, take_any);
	if (SSL_accept(ssl) != 1)
		return; /* an alert has been told */
	printf("handshake %s\n", SSL_get_version(ssl));
	write_line(fd, ssl, "220 peer");
	while (read_line(fd, ssl, line, sizeof line))
		if (opt.smtp && !take_command(fd, ssl, line))
			break;
	SSL_shutdown(ssl);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	alarm(DEADLINE);
	if (argc >= 3 && !strcmp(argv[1], "client")) {
		parse_options(argv + 3);
		client(argv[2]);
	} else if (argc >= 2 && !strcmp(argv[1], "server")) {
		opt.server = 1;
		parse_options(argv + 2);
		serve();
	} else {
		fprintf(stderr, "usage: peer client HOST:PORT | peer server; see peer.c\n");
		return 2;
	}
	return 0;
}
