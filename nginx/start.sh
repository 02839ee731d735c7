#!/bin/sh
# Starts nginx with HTTPS if there is a certificate, else without. Half of one is an error, which nginx names.
# ROLE, if it is set, says which routes this machine has: api or admin. CLIENT_IP_TRUNCATE, as the API's: what it logs.
set -eu
cd "$(dirname "$0")"

routes=routes-${ROLE:-all}.conf
if [ ! -e "$routes" ]; then
    echo "Cannot start: ROLE: expected api, admin or nothing, got '$ROLE'" >&2
    exit 1
fi
printf '# Who answers what. Anything else ends here with 404, /metrics among it.\ninclude %s;\n' "$routes" >/tmp/routes.conf

case ${CLIENT_IP_TRUNCATE:-false} in
    false) addresses=whole ;;
    true) addresses=truncated ;;
    *)
        echo "Cannot start: CLIENT_IP_TRUNCATE: expected true or false, got '$CLIENT_IP_TRUNCATE'" >&2
        exit 1
        ;;
esac
printf 'include %s;\n' "addresses-$addresses.conf" >/tmp/addresses.conf

configuration=http.conf
if [ -e tls/fullchain.pem ] || [ -e tls/privkey.pem ]; then
    configuration=https.conf
    suffix=
    [ "$HTTPS_PORT" = 443 ] || suffix=:$HTTPS_PORT
    # shellcheck disable=SC2016  # nginx's variable, not ours
    printf 'set $https_port "%s";\n' "$suffix" >/tmp/https_port.conf
fi
exec nginx -p "$PWD" -c "$configuration" -g 'daemon off;'
