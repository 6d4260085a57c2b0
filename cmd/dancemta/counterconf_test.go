//go:build unix

package main

// The configurations of real mail servers: each takes everything for everybody at
// $IP:$PORT into one Maildir, $WORK/NAME, but for nobody@ (never) and later@ (not yet).

// eximScript starts Exim. Its user must be able to read the key.
const eximScript = `
mkdir -p /etc/exim4 /var/spool/exim
chown Debian-exim /var/spool/exim "$WORK/exim"
install -m 644 "$WORK/exim.conf" /etc/exim4/exim4.conf
install -o Debian-exim -m 400 "$WORK/mx.key" /run/mx.key
exec exim4 -bdf`

const eximConf = `
primary_hostname = $HOST
spool_directory = /var/spool/exim
log_file_path = $WORK/log/exim.%s
daemon_smtp_ports = $PORT
local_interfaces = $IP
keep_environment =
tls_advertise_hosts = $TLS
tls_certificate = $WORK/mx.pem
tls_privatekey = /run/mx.key
tls_verify_certificates = $WORK/clients.pem
tls_try_verify_hosts = *
smtputf8_advertise_hosts = *
chunking_advertise_hosts = *
dsn_advertise_hosts = *
host_lookup =
rfc1413_hosts =
recipients_max = 0
smtp_accept_max_per_connection = 1000
acl_smtp_mail = mail
acl_smtp_rcpt = rcpt
acl_smtp_data = accept
never_users =
begin acl
mail:
  deny condition = $LOGIN
       !authenticated = *
       message = 5.7.0 log in
  accept
rcpt:
  deny local_parts = nobody
       message = 5.1.1 no such user
  defer local_parts = later
       !condition = ${if exists{$WORK/open}}
       message = 4.2.1 later
  accept
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${if and {{eq{$auth2}{relay@example.test}}{eq{$auth3}{a secret}}}}
  server_set_id = $auth2
  server_advertise_condition = ${if def:tls_in_cipher}
cert:
  driver = external
  public_name = EXTERNAL
  server_param2 = ${certextract {subj_altname,dns,>:}{$tls_in_peercert}}
  server_condition = ${if eq{$tls_in_certificate_verified}{1}}
  server_set_id = $auth2
  server_advertise_condition = $tls_in_certificate_verified
begin routers
all:
  driver = accept
  transport = box
begin transports
box:
  driver = appendfile
  directory = $WORK/exim
  maildir_format
  envelope_to_add
  return_path_add
  user = Debian-exim
begin retry
* * F,1h,1s
`

// opensmtpdScript starts OpenSMTPD.
const opensmtpdScript = `
mkdir -p /var/spool/smtpd /var/lib/opensmtpd/empty
chmod 711 /var/spool/smtpd
install -m 600 "$WORK/smtpd.conf" "$WORK/mx.pem" "$WORK/mx.key" /run
exec smtpd -d -f /run/smtpd.conf`

const opensmtpdConf = `
pki own cert "/run/mx.pem"
pki own key "/run/mx.key"
smtp max-message-size 60M
table nobody { "nobody@opensmtpd.out.test" }
table later { "later@opensmtpd.out.test" }
table boxes { "@" = "opensmtpd" }
filter nobody phase rcpt-to match rcpt-to <nobody> reject "550 5.1.1 no such user"
filter later phase rcpt-to match rcpt-to <later> reject "451 4.2.1 later"
filter both chain { nobody, later }
listen on $IP port $PORT tls pki own hostname $HOST filter both
action box maildir "$WORK/opensmtpd" virtual <boxes>
match from any for any action box
`

// postfixScript starts Postfix, in the foreground.
const postfixScript = `
mkdir -p /var/spool/postfix /var/lib/postfix
chown postfix /var/lib/postfix "$WORK/postfix"
exec postfix -c "$WORK/conf" start-fg`

const receivingMain = `
compatibility_level = 3.6
queue_directory = /var/spool/postfix
data_directory = /var/lib/postfix
maillog_file = $WORK/log/postfix
maillog_file_prefixes = $WORK
mail_owner = postfix
setgid_group = postdrop
myhostname = $HOST
mydestination =
inet_interfaces = loopback-only
inet_protocols = ipv4
alias_maps =
alias_database =
smtputf8_enable = yes
virtual_mailbox_domains = static:OK
virtual_mailbox_maps = static:postfix/
virtual_mailbox_base = $WORK
virtual_mailbox_limit = 0
message_size_limit = 52428800
virtual_uid_maps = static:$UID
virtual_gid_maps = static:$GID
virtual_minimum_uid = 1
local_header_rewrite_clients =
smtpd_recipient_restrictions = check_recipient_access inline:{ {nobody@ = 550 5.1.1 no such user}, {later@ = 451 4.2.1 later} }, permit_auth_destination, reject
smtpd_tls_chain_files = $WORK/mx.key, $WORK/mx.pem
smtpd_tls_security_level = may
`

const receivingMaster = `
$IP:$PORT inet n - n - - smtpd
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
tlsmgr    unix  - - n 1000? 1 tlsmgr
anvil     unix  - - n - 1 anvil
error     unix  - - n - - error
retry     unix  - - n - - error
virtual   unix  - n n - - virtual
proxymap  unix  - - n - - proxymap
postlog   unix-dgram n - n - 1 postlogd
`

// dovecotScript starts Dovecot with LMTP alone.
const dovecotScript = `
chown dovecot "$WORK/dovecot"
touch "$WORK/dovecot/broken" # where a mailbox should be
exec dovecot -F -c "$WORK/dovecot.conf"`

const dovecotConf = `
protocols = lmtp
base_dir = /run/dovecot
log_path = $WORK/log/dovecot
ssl = no
mail_location = maildir:$WORK/dovecot/%n
mail_uid = dovecot
mail_gid = dovecot
first_valid_uid = 1
first_valid_gid = 1
auth_username_format = %Ln
userdb {
  driver = passwd-file
  args = $WORK/users
}
passdb {
  driver = passwd-file
  args = scheme=PLAIN $WORK/users
}
service lmtp {
  unix_listener $WORK/lmtp {
    mode = 0666
  }
  inet_listener lmtp {
    address = $IP
    port = $PORT
  }
}
protocol lmtp {
  postmaster_address = postmaster@example.test
}
`
