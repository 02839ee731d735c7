#!/usr/bin/env bash
# Brings a dump or an archive from the bucket into backups/ of the checkout, for `make restore`. Only root may read it.
#   fetch.sh        lists what the bucket has
#   fetch.sh NAME   as listed: dumps/ratelimiter-….dump, archive/…/request_log-….csv.gz
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=deploy/storage.sh
. "$(dirname "$0")/storage.sh"

list() {
    bucket_rclone lsf --recursive --files-only "$(object "$BACKUP_BUCKET" '')" | sort
}

fetch() {
    local names file
    names=$(list)
    # Of a folder's name rclone would make one file of all that are in it.
    grep --quiet --line-regexp --fixed-strings -e "$1" <<<"$names" ||
        fail "$1: expected a name that fetch.sh lists, and $BACKUP_BUCKET has no such object"
    file=$PROJECT/backups/$(basename "$1")
    umask 077
    mkdir -p "$PROJECT/backups"
    trap 'rm -f "$PROJECT/backups/.fetched"' EXIT
    get_object "$BACKUP_BUCKET" "$1" >"$PROJECT/backups/.fetched"
    mv "$PROJECT/backups/.fetched" "$file"
    say "$file"
}

main() {
    read_host
    [[ $ROLE = admin ]] || fail "ROLE: expected admin, whose machine may read $BACKUP_BUCKET, got $ROLE"
    case $# in
        0) list ;;
        1) fetch "$1" ;;
        *) fail 'usage: fetch.sh [NAME]' ;;
    esac
}

main "$@"
