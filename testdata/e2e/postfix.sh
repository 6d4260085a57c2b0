# Sourced by the stories with a stock Postfix, behind lib.sh: an instance of its own in $WORK.
#
#   conf         its folder of configuration
#   POSTFIX_LOG  its log
conf=$WORK/conf
POSTFIX_LOG=$WORK/postlog/mail

# postfix_new HOSTNAME: its configuration, to which a story adds the services that it plays with.
postfix_new() {
	chmod a+rx "$WORK" # others than root run most of it
	mkdir -p "$conf" "$WORK/spool" "$WORK/data" "$WORK/postlog"
	chown postfix "$WORK/data"
	cat > "$conf/main.cf" <<-EOT
		compatibility_level = 3.6
		queue_directory = $WORK/spool
		data_directory = $WORK/data
		maillog_file = $POSTFIX_LOG
		maillog_file_prefixes = $WORK
		mail_owner = postfix
		setgid_group = postdrop
		myhostname = $1
		mydestination =
		inet_protocols = ipv4
		alias_maps =
		alias_database =
	EOT
	cat > "$conf/master.cf" <<-'EOT'
		cleanup   unix  n - n - 0 cleanup
		qmgr      unix  n - n 300 1 qmgr
		rewrite   unix  - - n - - trivial-rewrite
		bounce    unix  - - n - 0 bounce
		defer     unix  - - n - 0 bounce
		trace     unix  - - n - 0 bounce
		error     unix  - - n - - error
		retry     unix  - - n - - error
		proxymap  unix  - - n - - proxymap
		postlog   unix-dgram n - n - 1 postlogd
	EOT
}

# postfix_mailboxes: it keeps mail in $WORK/mail.
postfix_mailboxes() {
	mkdir -p "$WORK/mail"
	chown postfix "$WORK/mail"
	cat >> "$conf/main.cf" <<-EOT
		virtual_mailbox_base = $WORK/mail
		virtual_uid_maps = static:$(id -u postfix)
		virtual_gid_maps = static:$(id -g postfix)
		virtual_minimum_uid = 1
	EOT
	cat >> "$conf/master.cf" <<-'EOT'
		anvil     unix  - - n - 1 anvil
		virtual   unix  - n n - - virtual
	EOT
}

postfix_start() {
	postfix -c "$conf" start > "$WORK/start" 2>&1 || { cat "$WORK/start" "$POSTFIX_LOG" >&2; fail 'postfix did not start'; }
}

# postfix_abort: for the end of the story, whatever has become of it.
postfix_abort() { postfix -c "$conf" abort > /dev/null 2>&1 || true; }
