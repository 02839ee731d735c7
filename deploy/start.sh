#!/usr/bin/env bash
# Brings the containers of this machine's role to what the checkout and .env say, one after the other, and waits for the
# health of each. What is there already stays untouched.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"

# Files that containers read; Compose does not see when they change.
declare -A CONFIGURATION=(
    [postgres]=deploy/postgres [redis]=redis-config [nginx]=nginx
    [prometheus]='prometheus prometheus.yml' [grafana]='grafana DEPLOYMENT.md' [fastapi]=$SETTINGS_DIR/postgres-ca.pem
)

# changed_since SERVICE TIME: the first of those files that is newer.
changed_since() {
    local paths=()
    read -ra paths <<<"${CONFIGURATION[$1]:-}"
    ((${#paths[@]} == 0)) || (cd "$PROJECT" && find "${paths[@]}" -newermt "$2" -print -quit)
}

start() {
    local service=$1 container started changed
    compose up --detach --no-deps --no-build "$service"
    container=$(compose ps --quiet "$service")
    started=$(docker inspect --format '{{.State.StartedAt}}' "$container")
    changed=$(changed_since "$service" "$started")
    if [[ $changed ]]; then
        say "$changed is newer than $service"
        docker restart -t 15 "$container" >/dev/null
    fi
    wait_healthy "$service" "$container"
    say "$service is up"
}

# The database may be older than .env, as on a volume that has outlived its machine.
set_superuser_password() {
    compose exec -T postgres psql --username postgres --quiet --set ON_ERROR_STOP=1 \
        <<<"ALTER ROLE postgres PASSWORD '$(env_value POSTGRES_PASSWORD)'"
}

main() {
    read_host
    # Docker would make folders that are missing, and unreadable.
    mkdir -p "$(env_value TLS_DIR)" "$(env_value ACME_DIR)"
    local service
    for service in "${SERVICES[@]}"; do
        start "$service"
        if [[ $service = postgres ]]; then
            set_superuser_password
            compose run --rm --no-deps -T roles
            compose run --rm --no-deps -T migrate
        fi
    done
}

main
