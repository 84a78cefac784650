#!/usr/bin/env bash
# Runs every test: format, lints, tables, golden boots, models, real mounts, real boots in QEMU.
#
#   ./test.sh                 everything
#   ./test.sh --quick         all but the real boots
#   ./test.sh --long          only the runs that a sample stands for otherwise, whole; hours. They are written to docs/proof/
#   ./test.sh -- NAME PART    only the real boots whose name contains a part (cargo test --test boot)
#
# As root on a Debian-like machine it installs what it needs; elsewhere it says which packages are missing.
set -euo pipefail
cd "$(dirname "$0")"

boots=yes
long=no
parts=()
while [ $# -gt 0 ]; do
	case $1 in
	--quick | --no-boots) boots=no ;;
	--long) long=yes ;;
	--) shift; parts=("$@"); break ;;
	-h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
	*) echo "test.sh: unknown argument $1; see ./test.sh --help" >&2; exit 2 ;;
	esac
	shift
done

say() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }

# Program or file that shows a package is there, and the package.
needed=(
	mksquashfs squashfs-tools  mkfs.erofs erofs-utils  minisign minisign  mke2fs e2fsprogs  mkfs.vfat dosfstools  mcopy mtools
	sfdisk fdisk  cpio cpio  xz xz-utils  zstd zstd  lz4 lz4  depmod kmod  readelf binutils  pkg-config pkg-config
	/usr/include/blkid/blkid.h libblkid-dev  umoci umoci  skopeo skopeo
	docker-registry docker-registry  openssl openssl  ip iproute2  mmdebstrap mmdebstrap
	zbarimg zbar-tools
	mkfs.xfs xfsprogs  mkfs.btrfs btrfs-progs  sload.f2fs f2fs-tools
)
is_there() { case $1 in /*) [ -e "$1" ] ;; *) command -v "$1" >/dev/null || [ -x "/sbin/$1" ] || [ -x "/usr/sbin/$1" ] ;; esac; }

missing=()
for ((i = 0; i < ${#needed[@]}; i += 2)); do
	is_there "${needed[i]}" || missing+=("${needed[i + 1]}")
done
# Of each target's QEMU, what `targets/` says: the program, and Debian's packages.
of_targets() { sed -n "s/^$1 = \"\(.*\)\"\$/\1/p" targets/*.toml | sort -u; }
mapfile -t machines < <(of_targets program)
qemu=yes
for machine in "${machines[@]}"; do is_there "$machine" || qemu=no; done

if [ ${#missing[@]} -gt 0 ] || { [ $qemu = no ] && [ $boots = yes ]; }; then
	say "installing what the tests need"
	packages=("${missing[@]}")
	[ $qemu = yes ] || [ $boots = no ] || packages+=($(of_targets debian-packages) qemu-system-data seabios ipxe-qemu)
	if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
		echo "test.sh: missing: ${packages[*]}" >&2
		echo "test.sh: install these packages (Debian's names), or run it as root on a Debian-like machine" >&2
		exit 1
	fi
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q >/dev/null || echo "test.sh: apt-get update failed; continuing with the existing lists" >&2
	# docker-registry is a service as well; only the program is wanted (Debian policy 9.3.3: 101 is "do not").
	policy=/usr/sbin/policy-rc.d
	if [ -e $policy ]; then policy=; else printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy; fi
	trap '[ -z "$policy" ] || rm -f "$policy"' EXIT
	apt_install() { apt-get install -y -q --no-install-recommends --allow-downgrades "$@" >/dev/null; }
	# Where qemu-utils is newer than the archive's QEMU (backports), the two do not fit: take the archive's for both.
	if ! apt_install "${packages[@]}"; then
		version=$(apt-cache madison qemu-system-x86 | awk 'NR == 1 { print $3 }')
		apt_install "${packages[@]}" "qemu-utils=$version"
	fi
	[ -z "$policy" ] || rm -f "$policy"
	trap - EXIT
fi

# Debian 12 has virtiofsd with QEMU, later releases as a package of its own.
has_virtiofsd() { is_there virtiofsd || is_there /usr/libexec/virtiofsd || is_there /usr/lib/qemu/virtiofsd; }
if [ $boots = yes ] && ! has_virtiofsd; then
	say "installing virtiofsd"
	if [ "$(id -u)" -ne 0 ] || ! apt-get install -y -q --no-install-recommends virtiofsd >/dev/null; then
		echo "test.sh: install virtiofsd (Debian's package virtiofsd; in Debian 12 qemu-system-common)" >&2
		exit 1
	fi
fi

say "format"
cargo fmt --all --check

say "artifacts"
./build.sh --variant standard,debug,slim

# init's tests on a real kernel (--all-features) need libclang, which build.sh has put into the cache, and C's own headers.
cache=${INITRAMFS_OVERLAY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/initramfs-overlay}
libclang=$(find "${INITRAMFS_OVERLAY_TOOLS:-$cache/tools}" -name libclang.so -print -quit)
export LIBCLANG_PATH=${libclang%/*}
BINDGEN_EXTRA_CLANG_ARGS=-I$(gcc -print-file-name=include)
export BINDGEN_EXTRA_CLANG_ARGS

# A long run: its name in docs/proof, the package, the test, and the variables that make it long.
prove() {
	local name=$1 package=$2 test=$3 start=$SECONDS status=0 output
	shift 3
	say "long: $name"
	output=$(mktemp)
	env "$@" cargo test -p "$package" --all-features --test "$test" 2>&1 | tee "$output" || status=1
	mkdir -p docs/proof
	{
		printf '# %s\n\n' "$name"
		printf 'Run on %s at commit %s by `./test.sh --long`' "$(date -u +%Y-%m-%d)" "$(git describe --always --dirty --abbrev=12)"
		printf ' (`%scargo test -p %s --all-features --test %s`), kernel %s, %s s.\n\n' "${*:+$* }" "$package" "$test" "$(uname -r)" $((SECONDS - start))
		# What cargo says about building is no part of it.
		printf '```text\n%s\n```\n' "$(grep -vE '^ +(Compiling|Finished|Running|Blocking) ' "$output")"
	} >"docs/proof/$test.md"
	rm -f "$output"
	return $status
}
if [ $long = yes ]; then
	export BOOT_TESTS=required
	status=0
	prove "Hostile media" initramfs-overlay-init hostile_media HOSTILE_MEDIA=long || status=1
	prove "Full disks" initramfs-overlay-init full_disks FULL_DISKS=long || status=1
	prove "Faults of every call" initramfs-overlay-init faults FAULTS=long || status=1
	prove "Hostile media, real boots" initramfs-overlay hostile_boots HOSTILE_MEDIA=long || status=1
	prove "Writes of a quiet boot" initramfs-overlay quiet_boot || status=1
	prove "A bundle without a compiler" initramfs-overlay bundle BUNDLE=long || status=1
	prove "Initramfs images of distributions, unpacked" initramfs-overlay extract EXTRACT=long || status=1
	prove "The commands of the pages, with their boots" initramfs-overlay readme README=long || status=1
	prove "Interrupted commands" initramfs-overlay interrupted INTERRUPTED=long || status=1
	prove "Boots of every target, of every fault and every repair" initramfs-overlay boot BOOT_TARGETS=all BOOT_FAULTS=all BOOT_SCREEN=all BOOT_REPAIRS=all || status=1
	prove "Kernels with larger pages" initramfs-overlay kernels BOOT_TARGETS=all || status=1
	prove "The same bytes of every target" initramfs-overlay reproducible BOOT_TARGETS=all || status=1
	prove "Directories as machines of every target" initramfs-overlay virtiofs BOOT_TARGETS=all || status=1
	prove "Roots in memory of every target" initramfs-overlay ram BOOT_TARGETS=all || status=1
	prove "Power cuts on real disks" initramfs-overlay power_cut POWER_CUT=long || status=1
	say "done"
	exit $status
fi

say "lints"
# As a plain `cargo test` builds it, then with what acts on a real kernel.
cargo clippy --quiet --workspace --all-targets -- -D warnings
cargo clippy --quiet -p initramfs-overlay-init --all-targets --all-features -- -D warnings

say "dependencies"
# Compiling cargo-deny would take longer than all tests: without it, builder/tests/dependencies.rs reads the same deny.toml.
if command -v cargo-deny >/dev/null; then
	cargo deny --offline check bans licenses sources
	if cargo deny fetch db; then
		cargo deny check advisories
	else
		echo "skipped: advisories: their database cannot be reached"
	fi
else
	echo "skipped: advisories: cargo-deny is not installed; licences, sources and bans are a test (cargo test --test dependencies)"
fi

say "tests: tables, golden boots, models, real mounts$([ $boots = no ] || echo ', real boots')"
# What boots in real boots is also what the choice of modules is tested on; the first boots fetch it.
export INITRAMFS_OVERLAY_TEST_KERNELS=$cache/kernel
[ $boots = yes ] || [ -d "$cache/kernel" ] || unset INITRAMFS_OVERLAY_TEST_KERNELS
log=$(mktemp)
suites=$(mktemp)
trap 'rm -f "$log" "$suites"' EXIT
# Passes the output on, and notes when each suite begins.
note_suites() {
	local line suite
	while IFS= read -r line; do
		printf '%s\n' "$line"
		case $line in
		*Running\ *\(*) suite=${line##*/} suite=${suite%-*} ;;
		*Doc-tests\ *) suite="${line##* } (documentation)" ;;
		*) continue ;;
		esac
		printf '%s %s\n' "$SECONDS" "$suite" >>"$suites"
	done
	printf '%s end\n' "$SECONDS" >>"$suites"
}
status=0
if [ $boots = yes ]; then export BOOT_TESTS=required; else export BOOT_TESTS=none; fi
if [ ${#parts[@]} -gt 0 ]; then
	cargo test -p initramfs-overlay --test boot --test virtiofs -- "${parts[@]}" 2>&1 | tee "$log" | note_suites || status=1
else
	cargo test --workspace --all-features --no-fail-fast 2>&1 | tee "$log" | note_suites || status=1
fi

# The closing lines of cargo's test runner and of our own, added up.
total() { grep -E '^(test result: )?.*[0-9]+ passed[,;]' "$log" | grep -oE "[0-9]+ $1" | awk '{ n += $1 } END { print n + 0 }'; }
# Single tests that lack a tool say so on a line of their own, past the runner's count.
skipped=$(($(total skipped) + $(total ignored) + $(grep -ciE '^skipped: ' "$log" || true)))
say "seconds per suite, of those that take any"
awk 'NR > 1 && $1 > start { printf "%6d  %s\n", $1 - start, name } { start = $1; name = substr($0, index($0, " ") + 1) }' "$suites" | sort -rn

say "done"
grep -iE '^skipped: |skipped:|^failed: |\.\.\. FAILED' "$log" || true
echo "$(total passed) passed, $(total failed) failed, $skipped skipped"
exit $status
