#!/usr/bin/env bash
# What the API's machine must know of the admin's: PostgreSQL's CA, the password of the API's role, the management token.
#   handover.sh publish   on the admin's machine: puts them into the bucket HANDOVER_BUCKET
#   handover.sh fetch     on the API's machine: waits for them, and puts them into .env and SETTINGS_DIR
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=deploy/storage.sh
. "$(dirname "$0")/storage.sh"

# The other machine installs its packages first.
WAIT_SECONDS=${WAIT_SECONDS:-3600}
NAMES='API_DATABASE_PASSWORD|ADMIN_API_TOKEN'

publish() {
    umask 077
    TEMPORARY=$(mktemp)
    trap 'rm -f "$TEMPORARY"' EXIT
    grep -E "^($NAMES)=" "$PROJECT/.env" >"$TEMPORARY"
    # Who finds the second object has both.
    retry 300 put_object "$HANDOVER_BUCKET" postgres-ca.pem "$SETTINGS_DIR/postgres-ca/ca.crt"
    retry 300 put_object "$HANDOVER_BUCKET" secrets.env "$TEMPORARY"
    say "published in $HANDOVER_BUCKET"
}

fetch() {
    local deadline=$((SECONDS + WAIT_SECONDS)) secrets authority
    until secrets=$(get_object "$HANDOVER_BUCKET" secrets.env) && [[ $secrets ]]; do
        ((SECONDS < deadline)) || fail "HANDOVER_BUCKET: nothing in $HANDOVER_BUCKET after $WAIT_SECONDS s; is the other machine up?"
        say "waiting for the admin's machine ($SECONDS s)"
        sleep "${WAIT_STEP_SECONDS:-15}"
    done
    authority=$(get_object "$HANDOVER_BUCKET" postgres-ca.pem)
    openssl x509 -noout <<<"$authority" 2>/dev/null || fail "$HANDOVER_BUCKET/postgres-ca.pem: expected a certificate"
    (($(grep -cE "^($NAMES)=[A-Za-z0-9_-]{16,}$" <<<"$secrets") == 2)) ||
        fail "$HANDOVER_BUCKET/secrets.env: expected $NAMES, of 16 letters or digits at least"
    grep -E "^($NAMES)=" <<<"$secrets" | set_env
    # Only when it is another: start.sh restarts the API for a newer one. In place, since the container has this very file.
    [[ $authority = "$(cat "$SETTINGS_DIR/postgres-ca.pem" 2>/dev/null)" ]] ||
        printf '%s\n' "$authority" >"$SETTINGS_DIR/postgres-ca.pem"
    chmod 0644 "$SETTINGS_DIR/postgres-ca.pem"
    say "fetched from $HANDOVER_BUCKET"
}

main() {
    read_host
    case ${1:-} in
        publish) [[ $ROLE = admin ]] || fail "publish: expected the machine of the admin" ;;
        fetch) [[ $ROLE = api ]] || fail "fetch: expected the machine of the API" ;;
        *) fail "usage: handover.sh publish|fetch" ;;
    esac
    "$1"
}

main "$@"
