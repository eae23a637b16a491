#!/usr/bin/env bash
# Try set-up where nothing is installed: in minimal Debian roots, as root, with sudo, and without it.
#
#   sudo scripts/try-fresh-debian.sh              set-up from nothing, again, and with --bench
#   sudo scripts/try-fresh-debian.sh make test    this command instead of the second set-up
#
# The roots get the last commit of this checkout, and the package sources (apt's and pip's) of this machine.
# Needs root, mmdebstrap and a Debian host. Everything runs in name spaces of its own (mounts, processes), so
# whatever is left at the end, by success or failure, is one directory, and that is removed. Only the network
# is shared: what listens on Ringkeep's ports here is in the way of commands that start a cluster there.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly USER_NAME=keeper
readonly PROJECT=ringkeep

fail() {
    echo "try-fresh-debian: $*" >&2
    exit 1
}
step() { printf '\n=== %s\n' "$*"; }

debian_sources() {
    local file
    for file in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
        if [[ -s $file ]]; then
            echo "$file"
            return
        fi
    done
    fail "found no Debian package sources on this machine"
}

# One root as Debian's installer would leave it, with what `git clone && make` takes, and a user.
build_base() {
    local root=$1 suite
    suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    mmdebstrap --quiet --variant=minbase --include=ca-certificates,git,make,sudo \
        "$suite" "$root" "$(debian_sources)"
    take_over_package_settings "$root"
    chroot "$root" useradd --create-home --shell /bin/bash "$USER_NAME"
    git clone --quiet --no-hardlinks . "$root/root/$PROJECT"
    git clone --quiet --no-hardlinks . "$root/home/$USER_NAME/$PROJECT"
    chroot "$root" chown -R "$USER_NAME:" "/home/$USER_NAME"
}

# How this machine reaches the package sources is also how the roots have to. (PIP_* variables pass anyway.)
take_over_package_settings() {
    local root=$1 file
    for file in /etc/pip.conf /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt; do
        if [[ -e $file ]]; then cp -L "$file" "$root$file"; fi
    done
    apt-config dump Acquire >"$root/etc/apt/apt.conf.d/99-from-host"
}

# Run a command in a copy of the base, as one user. The copy's processes end with it.
in_copy_of() {
    local base=$1 user=$2 home
    shift 2
    rm -rf --one-file-system "$base.copy"
    cp -a "$base" "$base.copy"
    home=$([[ $user == root ]] && echo /root || echo "/home/$user")
    if [[ $user == *-sudo ]]; then
        user=${user%-sudo} home=${home%-sudo}
        echo "$user ALL=(ALL) NOPASSWD: ALL" >"$base.copy/etc/sudoers.d/$user"
    fi
    # The name spaces end with this command, and with them its mounts: the removal meets none of them.
    unshare --mount --pid --fork --kill-child bash -euc '
        mount -t proc proc "$1/proc"
        mount --rbind /dev "$1/dev"
        exec chroot "$1" runuser -u "$2" -- env HOME="$3" USER="$2" LANG=C.UTF-8 \
            bash -euo pipefail -c "cd ~/ringkeep; $4"
    ' in-copy "$base.copy" "$user" "$home" "$*"
}

readonly TIMED='TIMEFORMAT="set-up again took %R s (the limit is 1 s)"; time scripts/setup.sh'
readonly NO_SERVICE='
    if cat /proc/[0-9]*/comm | grep -E "^(etcd|java|redis-server)$"; then echo "left running, see above"; exit 1; fi
    if [[ -e /usr/sbin/policy-rc.d ]]; then echo "left policy-rc.d behind"; exit 1; fi'

main() {
    local base=$1
    shift
    local then_run="${*:-$TIMED}"
    step "building a minimal Debian root"
    build_base "$base"

    step "as root"
    in_copy_of "$base" root "scripts/setup.sh; $then_run; .venv/bin/python -c 'import ringkeep, rocksdict'"

    step "as a user with sudo, benchmark tools included"
    in_copy_of "$base" "$USER_NAME-sudo" "scripts/setup.sh --bench; $then_run; etcd --version; $NO_SERVICE"

    step "as a user without sudo: must refuse, and say what is missing"
    if in_copy_of "$base" "$USER_NAME" "scripts/setup.sh"; then fail "set-up claims to have worked"; fi

    step "all as it should be"
}

[[ $(id -u) -eq 0 ]] || fail "needs root, for chroot"
command -v mmdebstrap >/dev/null || fail "needs mmdebstrap: apt-get install mmdebstrap"

work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
chmod 755 "$work"
main "$work/debian" "$@"
