#!/bin/sh
# Starts nginx with HTTPS if there is a certificate, else without. Half of one is an error, which nginx names.
# ROLE, if it is set, says which routes this machine has: api or admin.
set -eu
cd "$(dirname "$0")"

routes=routes-${ROLE:-all}.conf
if [ ! -e "$routes" ]; then
    echo "Cannot start: ROLE: expected api, admin or nothing, got '$ROLE'" >&2
    exit 1
fi
printf '# Who answers what. Anything else ends here with 404, /metrics among it.\ninclude %s;\n' "$routes" >/tmp/routes.conf

configuration=http.conf
if [ -e tls/fullchain.pem ] || [ -e tls/privkey.pem ]; then
    configuration=https.conf
    suffix=
    [ "$HTTPS_PORT" = 443 ] || suffix=:$HTTPS_PORT
    # shellcheck disable=SC2016  # nginx's variable, not ours
    printf 'set $https_port "%s";\n' "$suffix" >/tmp/https_port.conf
fi
exec nginx -p "$PWD" -c "$configuration" -g 'daemon off;'
