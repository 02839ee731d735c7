#!/usr/bin/env bash
# Writes what host.env says of this machine into .env, which it makes or completes; secrets that are there stay.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"

# Secrets of the other role have no meaning here; Compose wants them all the same.
role_values() {
    printf '%s\n' "COMPOSE_FILE=docker-compose.yml:deploy/compose.$ROLE.yml" "BIND_ADDRESS=$PRIVATE_IP" \
        "IMAGE_PREFIX=${IMAGE_PREFIX:-}" "TLS_DIR=$SETTINGS_DIR/nginx-tls" "ACME_DIR=$STATE_DIR/acme"
    # An update has moved it since.
    [[ -e $STATE_DIR/running ]] || printf '%s\n' "IMAGE_TAG=${IMAGE_TAG:-latest}"
    if [[ $ROLE = api ]]; then
        printf '%s=not-on-this-machine\n' POSTGRES_PASSWORD OWNER_DATABASE_PASSWORD DJANGO_SECRET_KEY \
            DJANGO_SUPERUSER_PASSWORD API_TOKEN WEBHOOK_SECRET_KEY
        printf '%s\n' "ADMIN_PRIVATE_IP=$ADMIN_PRIVATE_IP" "POSTGRES_CA=$SETTINGS_DIR/postgres-ca.pem" \
            REQUEST_LOG_REQUIRE_ARCHIVE=true
    else
        printf '%s=not-on-this-machine\n' REDIS_PASSWORD GRAFANA_ADMIN_PASSWORD
        printf '%s\n' "DJANGO_ALLOWED_HOSTS=$DOMAIN" "API_PRIVATE_IP=$API_PRIVATE_IP" \
            "POSTGRES_TLS_DIR=$SETTINGS_DIR/postgres-tls"
        # Without a domain there is no certificate; then the admin is for `ssh -L`, and localhost.
        [[ $DOMAIN ]] && printf 'DJANGO_SECURE=true\n' || printf 'DJANGO_SECURE=false\n'
        [[ ! ${OPERATOR_EMAIL:-} ]] || printf 'DJANGO_SUPERUSER_EMAIL=%s\n' "$OPERATOR_EMAIL"
    fi
}

main() {
    read_host
    role_values | set_env
}

main
