#!/usr/bin/env bash
# Unpacks the mail servers that exclude each other as packages into a folder, side by side:
# fetch.sh FOLDER. Nothing is installed; inside.sh starts them. A folder that is complete stays.
# FOLDER/libraries says which libraries they need: .ci/run has them installed.
set -euo pipefail

folder=$1
packages="exim4-daemon-light opensmtpd dovecot-core dovecot-lmtpd"
wanted=$(apt-cache policy $packages | grep -v Installed)
if [ -f "$folder/libraries" ] && [ -f "$folder/complete" ] && [ "$(cat "$folder/complete")" = "$wanted" ]; then
	exit
fi
rm -rf "$folder"
mkdir -p "$folder/packages"
folder=$(cd "$folder" && pwd)
(cd "$folder/packages" && apt-get download -q $packages > "$folder/log" 2>&1) || { cat "$folder/log"; exit 1; }
for file in "$folder"/packages/*.deb; do
	dpkg -x "$file" "$folder"
	dpkg-deb -f "$file" Depends
done | tr ',' '\n' | grep -E '^ *lib' | sort -u | paste -sd , > "$folder/libraries"
printf '%s\n' "$wanted" > "$folder/complete"
