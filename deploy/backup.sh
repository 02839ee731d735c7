#!/usr/bin/env bash
# Every night on the admin's machine: a dump of the database, and each day of the request log that is over, into the bucket.
# It fails if anything did not arrive there. What arrived stays here for BACKUP_KEEP_DAYS, too.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=deploy/storage.sh
. "$(dirname "$0")/storage.sh"

# send FILE FOLDER: by a name that is new, since a machine may add to the bucket, and not replace.
send() {
    say "sending $(basename "$1") ($(stat --format %s "$1") bytes)"
    retry "${SEND_SECONDS:-120}" put_object "$BACKUP_BUCKET" "$2/$(basename "$1")" "$1"
}

dump() {
    local file
    file=$(cd "$PROJECT" && realpath "$(make --no-print-directory backup STACK=compose | tail -n 1)")
    [[ -s $file ]] || fail "make backup: expected a file, got '$file'"
    send "$file" dumps
    find "$(dirname "$file")" -name '*.dump' -mtime "+$KEEP_DAYS" -delete
}

# By the job `migrate`, which has the owner's database and no address of its own; as ourselves, for our own folder.
archive() {
    local folder=$STATE_DIR/archive file
    mkdir -p "$folder/sent"
    compose run --rm --no-deps -T --user "$(id -u):$(id -g)" --volume "$folder:/archive" migrate \
        python manage.py archive_requests --directory /archive >/dev/null
    # Also those of a night on which the bucket could not be reached. A day may be written again, with rows that came late.
    for file in "$folder"/request_log-*.csv.gz; do
        [[ -e $file ]] || continue
        send "$file" "archive/$(date --utc +%Y-%m-%dT%H-%M-%SZ)"
        mv "$file" "$folder/sent/"
    done
    find "$folder/sent" -name '*.csv.gz' -mtime "+$KEEP_DAYS" -delete
}

main() {
    read_host
    KEEP_DAYS=${BACKUP_KEEP_DAYS:-7}
    [[ $ROLE = admin ]] || fail "ROLE: expected admin, which has PostgreSQL, got $ROLE"
    [[ $KEEP_DAYS =~ ^[0-9]+$ ]] || fail "BACKUP_KEEP_DAYS: expected days, got '$KEEP_DAYS'"
    mkdir -p "$STATE_DIR"
    dump
    archive
    touch "$STATE_DIR/last-backup"
    say "done; the last good one is $(date --utc --reference "$STATE_DIR/last-backup" +%FT%TZ)"
}

main
