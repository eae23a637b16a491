#!/usr/bin/env bash
# Make this checkout ready to run: system packages, .venv, the locked Python packages, the project itself.
#
#   scripts/setup.sh            what `make run` and `make test` need
#   scripts/setup.sh --compile  also a C compiler and Python's headers
#   scripts/setup.sh --bench    also those, and what the benchmarks compare with
#
# Safe to repeat. A stamp in .venv says what was installed; while it holds, nothing is fetched or changed.
# PYTHON=/path/to/python chooses the interpreter for a new .venv.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly LOCK=requirements/lock.txt
readonly STAMP=.venv/ringkeep-setup.stamp

say() { echo "setup: $*"; }
fail() {
    echo "setup: $*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# --- Python ------------------------------------------------------------------------------------------

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
can_make_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# An optimised build is about a quarter faster than a plain one from source, which shows in every request.
# Distributions' own are (they live below /usr); of others the build's arguments tell.
is_optimised() {
    "$1" -c 'import sys, sysconfig
arguments = str(sysconfig.get_config_var("CONFIG_ARGS"))
sys.exit(not (sys.base_prefix == "/usr" or "--enable-optimizations" in arguments))' 2>/dev/null
}

# Whether C extensions can be compiled for it (scripts/compile.py does).
has_headers() {
    [[ -e $("$1" -c 'import sysconfig; print(sysconfig.get_path("include"))' 2>/dev/null)/Python.h ]]
}

# Print the Python to use: PYTHON if it is set; else the first one that is new enough and optimised, or just
# new enough. The plain name comes first: it is the one people chose.
find_python() {
    local candidate first=
    for candidate in ${PYTHON:-python3 /usr/bin/python3 python3.13 python3.12 python3.11 python3.14}; do
        if have "$candidate" && is_new_enough "$candidate"; then
            if is_optimised "$candidate" && can_make_venv "$candidate"; then
                echo "$candidate"
                return
            fi
            first=${first:-$candidate}
        fi
    done
    echo "$first"
}

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

# --- system packages -----------------------------------------------------------------------------------

# Java and ZooKeeper count as present where `ringkeep zookeeper` looks for them.
have_java() {
    if [[ -n ${JAVA_HOME-} && -x ${JAVA_HOME-}/bin/java ]]; then return; fi
    if [[ $(uname) == Darwin ]]; then
        # /usr/bin/java is on every Mac, and only asks for a real one.
        [[ -x /opt/homebrew/opt/openjdk/bin/java || -x /usr/local/opt/openjdk/bin/java ]] ||
            /usr/libexec/java_home >/dev/null 2>&1
    else
        have java
    fi
}

have_zookeeper() {
    local place
    if [[ -n ${RINGKEEP_ZOOKEEPER_CLASSPATH-} ]]; then return; fi
    for place in /usr/share/java/zookeeper.jar /opt/zookeeper/lib \
        /opt/homebrew/opt/zookeeper/libexec/lib /usr/local/opt/zookeeper/libexec/lib; do
        if [[ -e $place ]]; then return; fi
    done
    return 1
}

# Print the Debian packages that this machine lacks, one a line. Asks the machine, not the package
# database: a Java or a Python that came another way is as good.
missing_debian_packages() {
    local python
    if [[ ! -e $STAMP ]]; then
        python=$(find_python)
        if [[ -z $python ]]; then
            echo python3-venv # brings Debian's own Python
        elif ! can_make_venv "$python"; then
            echo "python$(version_of "$python")-venv"
        fi
    fi
    have_zookeeper || echo libzookeeper-java
    have_java || echo default-jre-headless
    [[ $(id -u) -ne 0 ]] || have ip || echo iproute2 # tests cut networks, which only root may
    if [[ $with_bench == yes ]]; then
        have etcd || echo etcd-server
        have wrk || echo wrk
        have redis-server || echo redis-server
    fi
    if [[ $with_compiler == yes ]]; then
        have cc || printf '%s\n' gcc libc6-dev
        has_headers .venv/bin/python || has_headers "$(find_python)" || echo python3-dev
    fi
}

set_up_debian() {
    local missing
    mapfile -t missing < <(missing_debian_packages)
    if [[ ${#missing[@]} -eq 0 ]]; then return; fi

    local as_root=()
    if [[ $(id -u) -ne 0 ]]; then
        as_root=(sudo)
        if ! have sudo || ! sudo true; then
            fail "missing ${missing[*]}, and no way to become root: have an administrator run" \
                "\`apt-get install ${missing[*]}\`, then repeat this command"
        fi
    fi
    say "installing Debian packages (this can take a few minutes): ${missing[*]}"
    "${as_root[@]}" scripts/install-debian-packages.sh "${missing[@]}"
}

# Other systems have their own ways to install things; we say what is missing, and leave it to the owner.
check_other_system() {
    local missing=() hint="install them with your system's package manager"
    if [[ ! -e $STAMP && -z $(find_python) ]]; then missing+=(python@3.12); fi
    have_zookeeper || missing+=(zookeeper)
    have_java || missing+=(openjdk)
    if [[ $with_bench == yes ]]; then
        have etcd || missing+=(etcd)
        have wrk || missing+=(wrk)
        have redis-server || missing+=(redis)
    fi
    if [[ ${#missing[@]} -eq 0 ]]; then return; fi
    if [[ $(uname) == Darwin ]]; then hint="run \`brew install ${missing[*]}\`"; fi
    fail "missing ${missing[*]}: $hint, then repeat this command"
}

set_up_system() {
    if [[ -e /etc/debian_version ]] && have apt-get; then
        set_up_debian
    else
        check_other_system
    fi
}

# --- Python packages -------------------------------------------------------------------------------------

# What the environment depends on: the lock, the project's own description, and where both are (an
# environment that was moved or copied does not work in its new place).
wanted_stamp() {
    pwd -P
    if have sha256sum; then
        sha256sum "$LOCK" pyproject.toml
    else
        shasum -a 256 "$LOCK" pyproject.toml
    fi
}

venv_was_moved() { [[ -e $STAMP && $(head -n 1 "$STAMP") != "$(pwd -P)" ]]; }

set_up_venv() {
    local python
    if [[ -x .venv/bin/python && -e $STAMP && $(wanted_stamp) == "$(<"$STAMP")" ]]; then return; fi

    if [[ ! -x .venv/bin/python ]] || venv_was_moved; then
        python=$(find_python)
        [[ -n $python ]] || fail "Ringkeep needs Python 3.11 or newer; none was found (PYTHON=... names one)"
        can_make_venv "$python" || fail "$python lacks the venv module: install it, then repeat this command"
        say "making .venv with $("$python" --version)"
        "$python" -m venv --clear .venv
    elif ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        .venv/bin/python -m ensurepip --upgrade >/dev/null
    fi
    is_new_enough .venv/bin/python || fail ".venv holds a Python older than 3.11: remove it, then repeat"

    say "installing the locked Python packages"
    rm -f "$STAMP"
    pip_install --require-hashes -r "$LOCK"
    # The lock holds the build backend too, so the project needs nothing further from any index.
    pip_install --no-deps --no-build-isolation --no-index -e .
    wanted_stamp >"$STAMP"
}

pip_install() { .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input "$@"; }

# ---------------------------------------------------------------------------------------------------------

with_bench=no with_compiler=no
case "${1-}" in
"") ;;
--compile) with_compiler=yes ;;
--bench) with_bench=yes with_compiler=yes ;;
*) fail "unknown argument '$1' (there are --compile and --bench)" ;;
esac

set_up_system
set_up_venv
