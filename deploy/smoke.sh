#!/usr/bin/env bash
# Asks this machine's nginx, as a client would, for what its role must answer; for SMOKE_SECONDS (30), until it does.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"

# ask STATUS PATH [TEXT]: whether the answer has this status and this text.
ask() {
    local body status
    body=$(curl --silent --insecure --max-time 5 --connect-to "::$ADDRESS:" --write-out '\n%{http_code}' "$URL$2") || true
    status=${body##*$'\n'}
    [[ $status = "$1" && $body = *"${3:-}"* ]] || {
        LAST="$URL$2: expected $1${3:+ and $3}, got $status"
        return 1
    }
}

# TLS is asked for where there is a certificate. That it is valid is for a check from outside, by name.
front() {
    local tls
    tls=$(env_value TLS_DIR)
    ADDRESS=$(env_value HTTP_BIND_ADDRESS 127.0.0.1)
    if [[ -e $tls/fullchain.pem ]]; then
        URL=https://${DOMAIN:-localhost}:$(env_value HTTPS_PORT 443)
    else
        URL=http://${DOMAIN:-localhost}:$(env_value HTTP_PORT 80)
    fi
}

all_well() {
    case $ROLE in
        api) ask 200 /health '"status":"ok"' && ask 401 /api/check && ask 404 /admin/ ;;
        admin) ask 200 /admin/login/ && ask 404 /api/check ;;
    esac
}

main() {
    read_host
    front
    LAST=
    if retry "${SMOKE_SECONDS:-30}" all_well; then
        say "$ROLE answers as it should"
    else
        fail "$LAST"
    fi
}

main
