#!/usr/bin/env bash
# inside.sh FOLDER WORK PROGRAM ARGUMENT...: runs a program that sees the packages of FOLDER (see
# fetch.sh) as installed: in namespaces of its own for mounts and processes, with a private /etc,
# /run and /var below WORK. Who kills it kills all that it started.
set -euo pipefail

folder=$1 work=$2
if [ "${INSIDE:-}" != 1 ]; then
	exec env INSIDE=1 unshare --mount --pid --fork --kill-child --mount-proc bash "$0" "$@"
fi
unset INSIDE
shift 2
mkdir -p "$work/inside"
mount -t tmpfs tmpfs "$work/inside"
mkdir "$work/inside/etc" "$work/inside/work"
mount -t overlay overlay -o "lowerdir=$folder/usr:/usr" /usr
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$work/inside/etc,workdir=$work/inside/work" /etc
for dir in /run /var/spool /var/lib; do
	mount -t tmpfs tmpfs $dir
done
# Some containers have one that only root may write to.
mknod -m 666 "$work/inside/null" c 1 3
mount --bind "$work/inside/null" /dev/null
# The users that the packages would make.
for user in Debian-exim opensmtpd opensmtpq dovecot dovenull; do
	id $user > /dev/null 2>&1 || useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin $user
done
"$@"
