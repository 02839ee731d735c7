#!/usr/bin/env bash
# From a fresh Ubuntu to a checkout of the repository, where deploy/bootstrap.sh takes over.
# cloud-init runs it as root at the first boot; it may run again, and then changes only what is missing.
# Its output stands in /var/log/cloud-init-output.log.
set -euo pipefail
umask 022

host_env=/etc/rate-limiter/host.env
checkout=/opt/rate-limiter

step() {
    printf 'setup: %s\n' "$*"
}

# retry SECONDS COMMAND…: until it succeeds, or the time is over.
retry() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        if ((SECONDS >= deadline)); then
            step "gave up: $*" >&2
            return 1
        fi
        sleep 5
    done
}

# Terraform gives the machine its address after the machine has started.
wait_for_internet() {
    step "waiting for $REPOSITORY_URL"
    retry 900 curl --silent --head --location --max-time 10 --output /dev/null "$REPOSITORY_URL"
}

install_packages() {
    step "installing $*"
    retry 600 apt_get update
    retry 600 apt_get install "$@"
}

apt_get() {
    DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a apt-get --quiet --quiet --yes \
        --option DPkg::Lock::Timeout=300 --option Acquire::Retries=3 --option Dpkg::Options::=--force-confold "$@"
}

# Oracle's image ends INPUT with a REJECT of everything: what we accept has to stand before it.
# Docker must not run yet, or its own rules would be saved with ours, and restored without it.
open_firewall() {
    local changed='' port before
    for port in 80 443; do
        local rule=(--protocol tcp --match conntrack --ctstate NEW --dport "$port" --jump ACCEPT)
        if ! iptables --check INPUT "${rule[@]}" 2>/dev/null; then
            before=$(iptables --list INPUT --numeric --line-numbers | awk '$2 == "REJECT" { print $1; exit }')
            if [[ $before ]]; then
                iptables --insert INPUT "$before" "${rule[@]}"
            else
                iptables --append INPUT "${rule[@]}"
            fi
            changed=yes
        fi
    done

    # The machine's identity, which opens the buckets, is for the machine, and for none of its containers.
    local metadata=(--destination 169.254.169.254 --protocol tcp --dport 80 --jump DROP)
    if ! iptables --table raw --check PREROUTING "${metadata[@]}" 2>/dev/null; then
        iptables --table raw --append PREROUTING "${metadata[@]}"
        changed=yes
    fi

    if [[ $changed ]]; then
        netfilter-persistent save
    fi
}

clone() {
    if [[ ! -d $checkout/.git ]]; then
        step "cloning $REPOSITORY_URL"
        retry 300 git clone --quiet --no-checkout "$REPOSITORY_URL" "$checkout"
    fi
    if [[ ! -e $checkout/deploy/bootstrap.sh ]]; then
        step "checking out $REPOSITORY_REF"
        git -C "$checkout" checkout --quiet "$REPOSITORY_REF"
    fi
}

main() {
    # shellcheck source=/dev/null
    . "$host_env"
    wait_for_internet
    install_packages iptables-persistent
    step 'opening ports 80 and 443'
    open_firewall
    install_packages docker.io docker-compose-v2 git make python3 openssl certbot fail2ban python3-systemd \
        unattended-upgrades
    systemctl try-reload-or-restart ssh
    clone
    step "starting the platform as role $ROLE"
    exec "$checkout/deploy/bootstrap.sh"
}

# Sourced, it only defines its functions.
if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    main
fi
