#!/usr/bin/env bash
# Makes PostgreSQL's certificate, and the CA that the API knows it by, if there is none or it ends soon. Run it daily.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"

CA_DAYS=3650
SERVER_DAYS=397
RENEW_SECONDS=$((60 * 24 * 3600))

quietly() {
    local said
    said=$("$@" 2>&1) || fail "$1 $2: $said"
}

# Its key is no container's.
make_ca() {
    quietly openssl req -x509 -config /dev/null -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days "$CA_DAYS" \
        -subj '/CN=Rate limiter: PostgreSQL' -addext basicConstraints=critical,CA:TRUE,pathlen:0 \
        -addext keyUsage=critical,keyCertSign -addext subjectKeyIdentifier=hash -keyout "$CA/ca.key" -out "$CA/ca.crt"
    say "made the CA, valid for $CA_DAYS days"
}

# The API calls it `postgres`; the address is for people.
make_server() {
    quietly openssl req -new -config /dev/null -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=postgres \
        -keyout server.key.new -out "$CA/server.csr"
    quietly openssl x509 -req -in "$CA/server.csr" -CA "$CA/ca.crt" -CAkey "$CA/ca.key" -days "$SERVER_DAYS" -out server.crt.new \
        -extfile <(printf '%s\n' "subjectAltName=DNS:postgres,IP:$PRIVATE_IP" extendedKeyUsage=serverAuth \
            basicConstraints=critical,CA:FALSE)
    mv server.key.new server.key
    mv server.crt.new server.crt
    say "made the certificate, valid for $SERVER_DAYS days"
}

# One that a crash left without its key is not.
is_good() {
    [[ -e server.crt && -e server.key ]] &&
        [[ $(openssl x509 -in server.crt -noout -pubkey) = "$(openssl pkey -in server.key -pubout)" ]] &&
        openssl verify -CAfile "$CA/ca.crt" -verify_hostname postgres -verify_ip "$PRIVATE_IP" server.crt >/dev/null 2>&1 &&
        openssl x509 -in server.crt -noout -checkend "$RENEW_SECONDS" >/dev/null
}

main() {
    read_host
    [[ $ROLE = admin ]] || fail "ROLE: expected admin, which has PostgreSQL, got $ROLE"
    umask 077
    CA=$SETTINGS_DIR/postgres-ca
    mkdir -p "$CA" "$SETTINGS_DIR/postgres-tls"
    cd "$SETTINGS_DIR/postgres-tls"
    [[ -e $CA/ca.crt && -e $CA/ca.key ]] || make_ca
    # It outlives the certificates that it signs. The other machine gets a new one from bootstrap.sh only.
    openssl x509 -in "$CA/ca.crt" -noout -checkend "$RENEW_SECONDS" >/dev/null ||
        say "the CA ends soon: remove $CA, and run bootstrap.sh on both machines" >&2
    ! is_good || return 0
    make_server
    if [[ -e $PROJECT/.env && $(compose ps --quiet postgres) ]]; then
        compose exec -T postgres sh /etc/postgres-ratelimiter/start.sh --renew
        compose kill -s HUP postgres
        say 'PostgreSQL reads it'
    fi
}

main
