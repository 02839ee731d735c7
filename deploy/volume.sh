#!/usr/bin/env bash
# Prepares the volume of PostgreSQL's data: a file system if there is none, mounted now and at each boot.
#   volume.sh DEVICE [FOLDER]
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"

main() {
    local device=$1 folder=${2:-/mnt/postgres} kind
    # Terraform attaches it while the machine starts.
    retry 600 test -b "$device" || fail "DATA_DEVICE: $device is no block device, 10 minutes after it should be"
    # Exit code 2 is "nothing found"; any other failure must not look like an empty volume.
    # A disk with partitions has a PTTYPE, and no TYPE.
    kind=$(blkid --probe --match-tag TYPE --match-tag PTTYPE --output value "$device") || (($? == 2)) ||
        fail "$device cannot be examined; nothing was changed"
    case $kind in
        '')
            say "making a file system on $device"
            mkfs.ext4 -q -L rate-limiter "$device"
            ;;
        ext4) say "$device has its file system; its data stay" ;;
        *) fail "$device: expected nothing or ext4, found $kind; nothing was changed" ;;
    esac
    mkdir -p "$folder"
    local uuid
    uuid=$(blkid --probe --match-tag UUID --output value "$device")
    if ! grep -q "^UUID=$uuid " /etc/fstab; then
        printf 'UUID=%s %s ext4 defaults,noatime,nofail,x-systemd.device-timeout=5min 0 2\n' "$uuid" "$folder" >>/etc/fstab
    fi
    mountpoint --quiet "$folder" || mount "$folder"
    # postgres/start.sh does without it what it would do on a disk that is not the volume: nothing.
    touch "$folder/.rate-limiter"
    say "$folder: $(df --human-readable --output=avail "$folder" | tail -n 1 | tr -d ' ') free"
}

main "$@"
