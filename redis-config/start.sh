#!/bin/sh
# Starts Redis with its password, which must not stand on a command line: every user of the machine could read it there.
# The variable is the one that redis-cli reads, too.
set -eu
umask 077
{
    cat "$(dirname "$0")/redis.conf"
    printf 'requirepass "%s"\n' "$REDISCLI_AUTH"
} >/tmp/redis.conf
exec redis-server /tmp/redis.conf
