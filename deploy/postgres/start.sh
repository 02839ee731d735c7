#!/bin/sh
# Starts PostgreSQL with TLS. Its arguments are those of the container, which the image's own entry point gets.
#   start.sh --renew   only copies the certificate again; then have the server read it (SIGHUP)
set -eu

# A volume that is not mounted is an empty folder, in which a new and empty database would be made.
if [ ! -e "${PGDATA%/*}/.rate-limiter" ]; then
    echo 'Cannot start: POSTGRES_VOLUME: expected a folder that deploy/volume.sh has prepared; is it mounted?' >&2
    exit 1
fi
# The key is root's on the host, whatever number the image gives its user. This starts as root, so the copy can be his.
install -d -o postgres -m 0700 /tmp/tls
install -o postgres -m 0400 /etc/postgres-tls/server.crt /etc/postgres-tls/server.key /tmp/tls
[ "${1:-}" != --renew ] || exit 0

exec docker-entrypoint.sh "$@" -c ssl=on -c ssl_cert_file=/tmp/tls/server.crt -c ssl_key_file=/tmp/tls/server.key \
    -c hba_file="$(dirname "$(realpath "$0")")/pg_hba.conf"
