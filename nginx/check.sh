#!/bin/sh
# Has the nginx of this machine check both configurations with the routes of each role, a certificate and upstreams made up
# for it.
set -eu
# Debian keeps it where only root looks.
PATH=$PATH:/usr/sbin
if ! command -v nginx >/dev/null; then
    echo 'nginx: its configuration was not checked, since it is not installed here'
    exit
fi

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -R "$(dirname "$0")/." "$copy"
cd "$copy"
openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost \
    -keyout tls/privkey.pem -out tls/fullchain.pem 2>/dev/null
# shellcheck disable=SC2016  # nginx's variable, not ours
printf 'set $https_port "";\n' >https_port.conf
# Names and paths that only the container has.
sed -i -E 's/server (fastapi|django):/server 127.0.0.1:/' common.conf
sed -i -E "s,/tmp/,$copy/," ./*.conf
for configuration in http.conf https.conf; do
    for routes in all api admin; do
        for addresses in whole truncated; do
            echo "include routes-$routes.conf;" >routes.conf
            echo "include addresses-$addresses.conf;" >addresses.conf
            nginx -t -q -p "$copy" -c "$configuration"
        done
    done
    echo "nginx: $configuration is valid"
done
