#!/bin/sh
# Starts nginx with HTTPS if there is a certificate, else without. Half of one is an error, which nginx names.
set -eu
cd "$(dirname "$0")"

configuration=http.conf
if [ -e tls/fullchain.pem ] || [ -e tls/privkey.pem ]; then
    configuration=https.conf
    suffix=
    [ "$HTTPS_PORT" = 443 ] || suffix=:$HTTPS_PORT
    printf 'set $https_port "%s";\n' "$suffix" >/tmp/https_port.conf
fi
exec nginx -p "$PWD" -c "$configuration" -g 'daemon off;'
