#!/usr/bin/env bash
# Deletes all objects of both buckets, the backups among them: before `terraform destroy`, which takes empty ones only.
#   empty-buckets.sh --yes   on the admin's machine, once Terraform's allow_emptying_buckets lets it
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=deploy/storage.sh
. "$(dirname "$0")/storage.sh"

main() {
    read_host
    local bucket left
    if [[ ${1:-} != --yes ]]; then
        fail "this deletes every backup in $BACKUP_BUCKET, and $HANDOVER_BUCKET; say empty-buckets.sh --yes"
    fi
    for bucket in "$BACKUP_BUCKET" "$HANDOVER_BUCKET"; do
        bucket_rclone delete "$(object "$bucket" '')"
        left=$(bucket_rclone lsf --recursive --files-only "$(object "$bucket" '')")
        [[ ! $left ]] || fail "$bucket still has: $left"
        say "$bucket is empty"
    done
}

main "$@"
