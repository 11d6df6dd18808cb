# shellcheck shell=sh
# Sourced by ./tare and ./tare-test: installs the system packages, then the virtual environment.
#
# A finished set-up leaves a stamp in the environment. While nothing it depends on has changed, a start compares the
# stamp and runs no apt, no pip and no Python. An interrupted set-up leaves its mark instead and is done again.
#
#   TARE_VENV           where the virtual environment lies (default: .venv beside this file)
#   TARE_SYSTEM_READY   1: the system packages are there, do not look for them (distributions without apt)

say() { printf 'tare: %s\n' "$*" >&2; }

fail() { # EXIT-CODE MESSAGE
	code=$1
	shift
	say "$*"
	exit "$code"
}

# Brings the environment to TIER (`run`, or `test`, which includes it) and sets $venv. Needs $root.
set_up() {
	tier=$1
	venv=${TARE_VENV:-$root/.venv}
	case $venv in
	/*) ;;
	*) venv=$PWD/$venv ;;
	esac
	take_fingerprint
	is_ready && return
	{ mkdir -p "$venv" && [ -w "$venv" ]; } || fail 2 "cannot write to $venv; name another folder by TARE_VENV"
	command -v flock >/dev/null || fail 2 "flock is missing (package util-linux)"
	# The lock is the folder itself: it goes with the process that holds it, and leaves no file behind.
	(
		flock -n 9 || { say "waiting for another set-up to end" && flock 9; }
		is_ready || install_all
	) 9<"$venv"
}

# Everything the result depends on: the machine (its packages are not in this folder), the place (an environment
# cannot be moved) and the content of the files that decide what is installed.
take_fingerprint() {
	machine=
	[ ! -r /etc/machine-id ] || IFS= read -r machine </etc/machine-id || :
	place="$machine $root"
	sums=$(cksum "$root/pyproject.toml" "$root/constraints.txt" "$root/setup.sh")
}

# The base interpreter is linked by its versioned name: when the distribution moves on, the link dangles.
is_ready() { [ -x "$venv/bin/python" ] && [ "$(recorded "$tier")" = "$place $sums" ]; }

# What was written under a name, by built-ins alone.
recorded() {
	[ ! -r "$venv/.tare-$1" ] || while IFS= read -r line; do printf '%s\n' "$line"; done <"$venv/.tare-$1"
}

install_all() {
	claim_folder
	: >"$venv/.tare-unfinished"
	rm -f "$venv/.tare-run" "$venv/.tare-test"
	log=$venv/setup.log
	: >"$log"
	install_packages
	install_environment
	record "$place" place
	record "$place $sums" run
	[ "$tier" = run ] || record "$place $sums" test
	rm "$venv/.tare-unfinished"
}

record() { # TEXT NAME
	printf '%s\n' "$1" >"$venv/.tare-$2"
}

# Only a folder that is empty or bears our mark is ever written to. What an interruption or another place left in it
# is removed; an environment that is merely out of date is brought up to date.
claim_folder() {
	if [ -z "$(ls -A "$venv")" ]; then
		return
	elif [ ! -e "$venv/.tare-unfinished" ] && [ ! -e "$venv/.tare-place" ]; then
		fail 2 "$venv was not made by this script; remove it, or name another folder by TARE_VENV"
	elif [ -e "$venv/.tare-unfinished" ] || [ "$(recorded place)" != "$place" ] || [ ! -x "$venv/bin/python" ]; then
		[ ! -d "$venv/bin" ] || say "making the virtual environment anew"
		: >"$venv/.tare-unfinished" # first, so that half a removal is still known as ours
		rm -rf "$venv"/[!.]*
	fi
}

# Debian's names. docs/host.md says what each is for.
packages() {
	echo busybox-static dosfstools e2fsprogs erofs-utils fdisk gcc grub-common grub-pc-bin kmod libc6-dev libseccomp2
	echo libvirt-daemon-driver-qemu libvirt-dev mmdebstrap mtools nftables ovmf pkg-config qemu-system-x86 qemu-utils skopeo
	echo systemd-boot-efi xz-utils zstd
	find_python || echo python3 python3-dev python3-venv
	[ "$tier" = run ] || echo bubblewrap buildah chromium crun docker-registry dropbear-bin libvirt-daemon openssh-client
	[ "$tier" = run ] || echo runc shellcheck umoci
}

install_packages() {
	[ "${TARE_SYSTEM_READY:-}" != 1 ] || return 0
	if ! knows_distribution; then
		say "this distribution is not known here. Debian calls what is needed:"
		packages | fmt -w 100 >&2
		fail 2 "install the like, with Python 3.11 or newer, then start again with TARE_SYSTEM_READY=1"
	fi
	# shellcheck disable=SC2046 # a list of words
	missing=$(missing_of $(packages))
	account=$(missing_account)
	[ -n "$missing$account" ] || return 0
	if [ "$(id -u)" != 0 ]; then
		say "parts of the system are missing. As root:"
		[ -z "$missing" ] || say "  apt-get install --no-install-recommends $missing"
		[ -z "$account" ] || say "  $account"
		fail 2 "then start again"
	fi
	# shellcheck disable=SC2086 # lists of words
	{
		[ -z "$missing" ] || apt_install $missing
		[ -z "$account" ] || logged $account || fail_with_log "useradd"
	}
}

apt_install() {
	say "installing system packages: $*"
	export DEBIAN_FRONTEND=noninteractive
	# Old lists may do, so a failed update is no failure yet; the log has both.
	logged apt-get update || say "apt-get update failed; trying with the lists there are"
	logged apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" || fail_with_log "apt-get"
}

# As root, libvirt's QEMU driver does not load unless the account it was built for exists, whatever its configuration
# says. Debian makes that account in the daemon's package only, and no daemon is needed here.
missing_account() {
	getent passwd libvirt-qemu >/dev/null ||
		echo useradd --system --user-group --no-create-home --shell /usr/sbin/nologin libvirt-qemu
}

# Debian and what calls itself like it: the package names above are theirs.
knows_distribution() {
	command -v apt-get >/dev/null && command -v dpkg-query >/dev/null || return
	case " $(. /etc/os-release 2>/dev/null && echo "${ID:-} ${ID_LIKE:-}") " in
	*" debian "* | *" ubuntu "*) ;;
	*) return 1 ;;
	esac
}

missing_of() {
	# shellcheck disable=SC2016 # dpkg's own ${…}
	installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null || :)
	list=
	for package; do
		case "
$installed
" in
		*"
installed $package
"*) ;;
		*) list="$list $package" ;;
		esac
	done
	printf '%s' "${list# }"
}

# Sets $python to the real path of the first interpreter that can make an environment and compile for it.
find_python() {
	for candidate in python3 /usr/bin/python3 python3.13 python3.12 python3.11; do
		python=$("$candidate" -c '
import ensurepip, os, sys, sysconfig, venv
header = os.path.join(sysconfig.get_path("include"), "Python.h")
sys.exit(1) if sys.version_info < (3, 11) or not os.path.exists(header) else print(os.path.realpath(sys.executable))
' 2>/dev/null) && return
	done
	return 1
}

install_environment() {
	find_python || fail 2 "no Python 3.11 or newer with venv, ensurepip and its C headers on this machine"
	extras=
	[ "$tier" = run ] || extras='[dev]'
	say "installing Python packages into $venv (the first time takes about a minute)"
	[ -x "$venv/bin/python" ] || logged "$python" -m venv "$venv" || fail_with_log "python -m venv"
	# Building needs setuptools at the pinned version too, hence no isolated build environment.
	install_pinned setuptools
	# "compat" puts this folder on the path; the default would run an import hook, 11 ms in every start of Python.
	install_pinned --no-build-isolation --config-settings editable_mode=compat --editable ".$extras"
}

# Runs where the project lies, so that no path, whatever its characters, is part of a requirement.
install_pinned() {
	(
		cd "$root" && logged "$venv/bin/python" -m pip install --disable-pip-version-check --no-input \
			--constraint constraints.txt "$@"
	) || fail_with_log "pip"
}

# A long command, told only to the log. 9<&-: whatever it may start must not keep the lock.
logged() { "$@" >>"$log" 2>&1 </dev/null 9<&-; }

fail_with_log() {
	tail -n 15 "$log" >&2
	fail 1 "$1 failed; its last lines are above, all of them in $log"
}
