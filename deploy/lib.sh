# shellcheck shell=bash
# shellcheck disable=SC2034  # who sources this uses the variables
# What the scripts of this folder share: how they speak, what this machine is, its .env and Compose. It is sourced.

PROJECT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# This machine's settings and certificates; what has to outlast a checkout.
SETTINGS_DIR=${SETTINGS_DIR:-/etc/rate-limiter}
STATE_DIR=${STATE_DIR:-/var/lib/rate-limiter}

say() {
    printf '%s: %s\n' "$(basename "$0" .sh)" "$*"
}

fail() {
    say "$*" >&2
    exit 1
}

# retry SECONDS COMMAND…: until it succeeds or the time is over; its last exit code.
retry() {
    local deadline=$((SECONDS + $1)) status
    shift
    while true; do
        "$@" && return
        status=$?
        ((SECONDS < deadline)) || return "$status"
        sleep 5
    done
}

# The settings of this machine as variables, and SERVICES, the containers of its role in the order of their start.
read_host() {
    local file=$SETTINGS_DIR/host.env name value
    [[ -r $file ]] || fail "$file: expected the settings of this machine (DEPLOYMENT.md, \"Two machines\")"
    while IFS='=' read -r name value; do
        [[ ! $name =~ ^[A-Z][A-Z_]*$ ]] || declare -g "$name=$value"
    done <"$file"
    local each default
    for each in API_PRIVATE_IP ADMIN_PRIVATE_IP; do
        [[ ${!each:-} =~ ^[0-9]+(\.[0-9]+){3}$ ]] || fail "$file: $each: expected an IPv4 address, got '${!each:-}'"
    done
    case ${ROLE:-} in
        api) default='redis fastapi nginx prometheus grafana' PRIVATE_IP=$API_PRIVATE_IP DOMAIN=${API_DOMAIN:-} ;;
        admin) default='postgres django notices rules nginx' PRIVATE_IP=$ADMIN_PRIVATE_IP DOMAIN=${ADMIN_DOMAIN:-} ;;
        *) fail "$file: ROLE: expected api or admin, got '${ROLE:-}'" ;;
    esac
    [[ $DOMAIN =~ ^([A-Za-z0-9.-]+\.[A-Za-z0-9-]+)?$ ]] || fail "$file: expected a host name, got '$DOMAIN'"
    read -ra SERVICES <<<"${SERVICES:-$default}"
    IMAGE=${IMAGE_PREFIX:-}rate-limiter-$ROLE
}

# set_env: the lines NAME=value of the input go into .env, which it makes or completes.
set_env() {
    (cd "$PROJECT" && python3 -m local.dotenv set)
}

# env_value NAME [DEFAULT]: what .env has for it.
env_value() {
    local value
    value=$(sed -n "s/^$1=//p" "$PROJECT/.env" | tail -n 1)
    printf '%s' "${value:-${2:-}}"
}

# Compose v2 is docker's plugin, v1 a program of its own. Both find .env, and by it their files, in the project's folder.
COMPOSE=(docker compose)
docker compose version >/dev/null 2>&1 || COMPOSE=(docker-compose)
compose() (
    cd "$PROJECT" || exit
    "${COMPOSE[@]}" "$@"
)

# wait_healthy SERVICE CONTAINER: until its health check is content, or its container runs if it has none.
wait_healthy() {
    local deadline=$((SECONDS + 180)) container=$2 status='' restarts=0
    while ((SECONDS < deadline && restarts < 3)); do
        read -r status restarts < <(docker inspect --format \
            '{{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}} {{.RestartCount}}' "$container")
        case $status in
            healthy | running) return ;;
        esac
        sleep 1
    done
    docker logs --tail 20 "$container" >&2
    fail "$1 is $status after ${restarts} restarts; above are its last lines"
}
