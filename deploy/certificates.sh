#!/usr/bin/env bash
# Sees after this machine's certificates: PostgreSQL's own, and nginx's by Let's Encrypt. A timer runs it.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"

main() {
    read_host
    [[ $ROLE != admin ]] || "$PROJECT/deploy/postgres-certificate.sh"
    "$PROJECT/deploy/web-certificate.sh" issue
}

main
