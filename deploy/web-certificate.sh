#!/usr/bin/env bash
# The certificate of nginx, by Let's Encrypt.
#   web-certificate.sh issue     gets one, if there is a domain and none of it yet; certbot renews it by itself
#   web-certificate.sh install   certbot's deploy hook: hands fullchain.pem and privkey.pem of RENEWED_LINEAGE to nginx
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"

CERTBOT_DIR=${CERTBOT_DIR:-/etc/letsencrypt}
HOOK=$CERTBOT_DIR/renewal-hooks/deploy/rate-limiter

# Whether nginx has one, and of this domain: the domain may have changed since.
has_certificate() {
    openssl x509 -in "$(env_value TLS_DIR)/fullchain.pem" -noout -checkhost "$DOMAIN" 2>/dev/null | grep -q 'does match'
}

issue() {
    # Without a domain there is nothing to certify, and nginx speaks plain HTTP.
    [[ $DOMAIN ]] || return 0
    ! has_certificate || return 0
    local lineage=$CERTBOT_DIR/live/$DOMAIN
    if [[ ! -e $lineage/fullchain.pem ]]; then
        : "${ACME_EMAIL:?expected in host.env: where Let\'s Encrypt writes to}"
        # It fails until the domain leads here. Let's Encrypt bears five failures an hour; the timer tries three times.
        certbot certonly --non-interactive --agree-tos --email "$ACME_EMAIL" --webroot \
            --webroot-path "$(env_value ACME_DIR)" --domain "$DOMAIN" ||
            fail "no certificate for $DOMAIN yet; does the name lead to this machine, with port 80 open?"
    fi
    # certbot runs the hook after the first time, too; here it is for a certificate that was there before.
    has_certificate || RENEWED_LINEAGE=$lineage install_certificate
}

install_certificate() {
    local folder user before=''
    folder=$(env_value TLS_DIR)
    mkdir -p "$folder"
    [[ ! -e $folder/fullchain.pem ]] || before=1
    # nginx is not root; the image knows his number.
    user=$(compose exec -T nginx id -u)
    install -o "$user" -m 0400 "$RENEWED_LINEAGE/privkey.pem" "$folder/privkey.pem.new"
    install -m 0444 "$RENEWED_LINEAGE/fullchain.pem" "$folder/fullchain.pem.new"
    mv "$folder/privkey.pem.new" "$folder/privkey.pem"
    mv "$folder/fullchain.pem.new" "$folder/fullchain.pem"
    if [[ $before ]]; then
        compose kill -s HUP nginx
    else
        # From plain HTTP to HTTPS takes another configuration.
        compose restart nginx
    fi
    wait_healthy nginx "$(compose ps --quiet nginx)"
    say "nginx has the certificate of $(basename "$RENEWED_LINEAGE")"
}

main() {
    read_host
    case ${1:-} in
        issue)
            mkdir -p "$(dirname "$HOOK")"
            printf '#!/bin/sh\nexec %q install\n' "$PROJECT/deploy/web-certificate.sh" >"$HOOK"
            chmod 0755 "$HOOK"
            issue
            ;;
        install)
            # Another certificate of this machine is none of ours.
            [[ $(basename "${RENEWED_LINEAGE:?set by certbot}") != "$DOMAIN" ]] || install_certificate
            ;;
        *) fail 'usage: web-certificate.sh issue|install' ;;
    esac
}

main "$@"
