#!/usr/bin/env bash
# Install Debian packages without letting any of them start a service. Run as root.
#
#   scripts/install-debian-packages.sh PACKAGE...
#
# Packages such as etcd-server and redis-server start themselves when they are installed and at every boot. We
# want their programs only, and must not leave a server on somebody's machine.
set -euo pipefail

readonly POLICY=/usr/sbin/policy-rc.d # Debian asks this program whether a service may start; 101 is "no"
readonly SERVICES=(etcd redis-server) # what our packages would bring up

running_systemd() { [[ -d /run/systemd/system ]]; }
service_exists() { systemctl cat "$1.service" >/dev/null 2>&1; }

if [[ ! -e $POLICY ]]; then
    trap 'rm -f "$POLICY"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$POLICY"
    chmod 755 "$POLICY"
fi

# A service that was there before us is somebody's: it stays as it is.
ours=()
for service in "${SERVICES[@]}"; do
    if running_systemd && ! service_exists "$service"; then ours+=("$service"); fi
done

export DEBIAN_FRONTEND=noninteractive
apt_get=(apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
"${apt_get[@]}" update || echo "setup: some package lists are as old as they were; going on with them" >&2
"${apt_get[@]}" install --no-install-recommends "$@" >/dev/null # errors come on the other stream

for service in "${ours[@]}"; do
    if service_exists "$service"; then systemctl disable --now "$service.service"; fi
done
