#!/usr/bin/env bash
# Makes a machine what /etc/rate-limiter/host.env says: disk, secrets, certificates, containers, timers. cloud-init runs it
# as root at the first boot. It may run again at any time, changes what is missing or different, and deletes nothing.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"
umask 022

STEPS=0

# step NAME COMMAND…
step() {
    STEPS=$((STEPS + 1))
    say "$STEPS: $1"
    shift
    "$@"
}

prepare_postgres() {
    if [[ ${DATA_DEVICE:-} ]]; then
        "$PROJECT/deploy/volume.sh" "$DATA_DEVICE"
    else
        say 'no DATA_DEVICE: the data are on the disk of the machine'
        mkdir -p /mnt/postgres
        touch /mnt/postgres/.rate-limiter
    fi
    "$PROJECT/deploy/postgres-certificate.sh"
    # Docker starts its containers by itself after a crash, and then, too, not before the volume is there.
    mkdir -p /etc/systemd/system/docker.service.d
    printf '[Unit]\nAfter=mnt-postgres.mount\n' >/etc/systemd/system/docker.service.d/rate-limiter.conf
}

# Redis rewrites its file by a fork, which may not fail for memory that it never uses.
allow_overcommit() {
    printf 'vm.overcommit_memory = 1\n' >/etc/sysctl.d/60-rate-limiter.conf
    sysctl --quiet --load /etc/sysctl.d/60-rate-limiter.conf
}

# They are links: an update of the checkout updates them.
install_units() {
    local units=(rate-limiter.service rate-limiter-certificates.timer)
    [[ $ROLE != admin ]] || units+=(rate-limiter-backup.timer)
    systemctl link --quiet "$PROJECT"/deploy/systemd/*
    systemctl daemon-reload
    systemctl enable --quiet --now docker.service "${units[@]}"
}

# `running` is what update.sh goes back to.
remember_version() {
    [[ -e $STATE_DIR/running ]] ||
        printf '%s %s\n' "$(git -C "$PROJECT" rev-parse HEAD)" "$(env_value IMAGE_TAG latest)" >"$STATE_DIR/running"
}

main() {
    read_host
    ((EUID == 0)) || fail 'expected root'
    say "$(hostname): role $ROLE, ${DOMAIN:-no domain}"
    mkdir -p "$STATE_DIR" "$SETTINGS_DIR"
    [[ $ROLE != admin ]] || step 'volume and certificate of PostgreSQL' prepare_postgres
    step '.env, with new secrets where there are none' "$PROJECT/deploy/environment.sh"
    if [[ $ROLE = api ]]; then
        step 'memory for Redis' allow_overcommit
        step 'waiting for what the other machine hands over' "$PROJECT/deploy/handover.sh" fetch
    fi
    step 'image' "$PROJECT/deploy/images.sh"
    step 'containers (some minutes, the first time)' "$PROJECT/deploy/start.sh"
    step 'units and timers of systemd' install_units
    step 'smoke test' "$PROJECT/deploy/smoke.sh"
    remember_version
    [[ $ROLE != admin ]] || step 'handing over to the other machine' "$PROJECT/deploy/handover.sh" publish
    say "done: version $(cut -c 1-12 "$STATE_DIR/running")"
}

main
